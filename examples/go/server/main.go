// Command server serves greetings. It is a stock gRPC server, with health and reflection, and knows nothing of weft:
//
//	server 127.0.0.1:50051 &
//	weft agent --app 127.0.0.1:50051
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	greeterv1 "weft-examples/gen/greeter/v1"
)

type greeter struct {
	greeterv1.UnimplementedGreeterServiceServer
	grumpy atomic.Uint32
}

func (g *greeter) Greet(_ context.Context, request *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	if request.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "the request has no name")
	}
	if request.Name == "Grumpy" && g.grumpy.Add(1)%3 != 0 {
		return nil, status.Error(codes.Unavailable, "not now")
	}
	return &greeterv1.GreetResponse{Text: "Hello " + request.Name, Language: "Go"}, nil
}

func (*greeter) GreetOften(request *greeterv1.GreetOftenRequest, stream grpc.ServerStreamingServer[greeterv1.GreetOftenResponse]) error {
	if request.Name == "" {
		return status.Error(codes.InvalidArgument, "the request has no name")
	}
	for number := range request.Times {
		text := fmt.Sprintf("Hello %s, number %d", request.Name, number+1)
		if err := stream.Send(&greeterv1.GreetOftenResponse{Text: text}); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: server HOST:PORT")
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	greeterv1.RegisterGreeterServiceServer(server, &greeter{})
	reflection.Register(server)
	serving := health.NewServer()
	serving.SetServingStatus(greeterv1.GreeterService_ServiceDesc.ServiceName, grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, serving)

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		serving.Shutdown()
		server.GracefulStop()
	}()
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
