package main

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	conformancev1 "weft-examples/gen/weft/conformance/v1"
)

// conformance is what `weft conformance` calls.
type conformance struct {
	conformancev1.UnimplementedConformanceServiceServer
	started, cancelled atomic.Uint64
}

func (c *conformance) Echo(ctx context.Context, request *conformancev1.EchoRequest) (*conformancev1.EchoResponse, error) {
	response := &conformancev1.EchoResponse{
		Payload: request.Payload, WaitsStarted: c.started.Load(), WaitsCancelled: c.cancelled.Load(),
	}
	incoming, _ := metadata.FromIncomingContext(ctx)
	if values := incoming.Get("x-weft-conformance"); len(values) > 0 {
		response.Metadata = values[0]
	}
	return response, nil
}

func (c *conformance) Wait(ctx context.Context, request *conformancev1.WaitRequest) (*conformancev1.WaitResponse, error) {
	c.started.Add(1)
	timer := time.NewTimer(request.Time.AsDuration())
	defer timer.Stop()
	select {
	case <-timer.C:
		return &conformancev1.WaitResponse{}, nil
	case <-ctx.Done():
		c.cancelled.Add(1)
		if request.IgnoreCancellation {
			<-timer.C
		}
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func (c *conformance) Fail(_ context.Context, request *conformancev1.FailRequest) (*conformancev1.FailResponse, error) {
	return nil, status.ErrorProto(request.Status)
}

func (c *conformance) Count(request *conformancev1.CountRequest, stream grpc.ServerStreamingServer[conformancev1.CountResponse]) error {
	for number := range request.Count {
		if err := stream.Send(&conformancev1.CountResponse{Number: number + 1}); err != nil {
			return err
		}
	}
	return nil
}
