// Command waiting serves a greeting that never comes: each call waits until its context ends, and the reason goes to a file, one line a
// call. It shows whether an app sees its own deadline or a cancellation.
//
//	waiting 127.0.0.1:50051 REASONS_FILE
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/reflection"

	greeterv1 "weft-examples/gen/greeter/v1"
)

type waiting struct {
	greeterv1.UnimplementedGreeterServiceServer
	reasons *os.File
}

func (w waiting) Greet(ctx context.Context, request *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	deadline, _ := ctx.Deadline()
	<-ctx.Done()
	fmt.Fprintf(w.reasons, "%s: %v, %d us before its deadline\n", request.Name, ctx.Err(), time.Until(deadline).Microseconds())
	return nil, ctx.Err()
}

func main() {
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	reasons, err := os.OpenFile(os.Args[2], os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	greeterv1.RegisterGreeterServiceServer(server, waiting{reasons: reasons})
	reflection.Register(server)
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
