// Command passing serves a greeting behind a sidecar: it calls the probe's method through the egress first, durably, on behalf of the call
// that it handles. Of that call's metadata it passes `weft-parent-id` on alone. Its first attempt fails.
//
//	passing 127.0.0.1:50051 EGRESS LEDGER_FILE
package main

import (
	"context"
	"encoding/binary"
	"log"
	"math"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	greeterv1 "weft-examples/gen/greeter/v1"
)

type passing struct {
	greeterv1.UnimplementedGreeterServiceServer
	mesh   *grpc.ClientConn
	ledger string
}

func (p passing) Greet(ctx context.Context, request *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	given, _ := metadata.FromIncomingContext(ctx)
	if attempt := given.Get("weft-attempt"); len(attempt) == 1 && attempt[0] == "1" {
		return nil, status.Error(codes.Unavailable, "not yet")
	}
	out := metadata.AppendToOutgoingContext(ctx, "weft-mode", "durable")
	for _, id := range given.Get("weft-parent-id") {
		out = metadata.AppendToOutgoingContext(out, "weft-parent-id", id)
	}
	err := p.mesh.Invoke(out, "/probe.v1.ProbeService/Call", p.probe(300*time.Millisecond), &emptypb.Empty{})
	if err != nil {
		return nil, err
	}
	return &greeterv1.GreetResponse{Text: "Hello " + request.Name, Language: "Go"}, nil
}

// probe is a ProbeRequest: text, sleep_s and ledger. This module has no generated code of it.
func (p passing) probe(sleep time.Duration) *emptypb.Empty {
	raw := append([]byte{1<<3 | 2, 1, 't'}, 2<<3|1)
	raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(sleep.Seconds()))
	raw = append(raw, 13<<3|2)
	raw = binary.AppendUvarint(raw, uint64(len(p.ledger)))
	message := &emptypb.Empty{}
	message.ProtoReflect().SetUnknown(append(raw, p.ledger...))
	return message
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	mesh, err := grpc.NewClient("passthrough:///"+os.Args[2], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	greeterv1.RegisterGreeterServiceServer(server, passing{mesh: mesh, ledger: os.Args[3]})
	reflection.Register(server)
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
