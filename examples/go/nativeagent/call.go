package main

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	weftv1 "weft-examples/gen/weft/v1"
)

// window is how far a streaming handler may be ahead of the acknowledgements (R29).
const window = 64

// call is what a handler has of its call: a grpc.ServerStream, and the grpc.ServerTransportStream behind grpc.SetTrailer.
type call struct {
	ctx     context.Context
	agent   *Agent
	attempt *attempt

	lock              sync.Mutex
	headers, trailers metadata.MD
}

func newCall(ctx context.Context, agent *Agent, attempt *attempt) *call {
	incoming := metadata.MD{}
	for _, entry := range attempt.assignment.GetContext().GetMetadata() {
		incoming.Append(entry.Key, string(entry.Value))
	}
	c := &call{agent: agent, attempt: attempt}
	c.ctx = grpc.NewContextWithServerTransportStream(metadata.NewIncomingContext(ctx, incoming), transport{c})
	return c
}

// Context is the handler's.
func (c *call) Context() context.Context { return c.ctx }

// RecvMsg gives the request.
func (c *call) RecvMsg(message any) error {
	return proto.Unmarshal(c.attempt.assignment.Payload, message.(proto.Message))
}

// SendMsg sends a response of a stream, numbered, once there is room for it (R27, R29).
func (c *call) SendMsg(message any) error {
	payload, err := proto.Marshal(message.(proto.Message))
	if err != nil {
		return err
	}
	a, attempt := c.agent, c.attempt
	defer context.AfterFunc(c.ctx, func() {
		a.lock.Lock()
		defer a.lock.Unlock()
		a.room.Broadcast()
	})()
	a.lock.Lock()
	defer a.lock.Unlock()
	for len(attempt.progress) >= window && !attempt.over() && c.ctx.Err() == nil {
		a.room.Wait()
	}
	if c.ctx.Err() != nil || attempt.over() {
		return context.Canceled
	}
	attempt.count++
	progress := &weftv1.Progress{TaskId: attempt.taskID, Attempt: attempt.number, Index: attempt.count, Payload: payload}
	attempt.progress = append(attempt.progress, progress)
	a.send(item{attempt, progress})
	return nil
}

// SetHeader, SendHeader and SetTrailer keep metadata for the outcome.
func (c *call) SetHeader(headers metadata.MD) error {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.headers = metadata.Join(c.headers, headers)
	return nil
}

func (c *call) SendHeader(headers metadata.MD) error { return c.SetHeader(headers) }

func (c *call) SetTrailer(trailers metadata.MD) {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.trailers = metadata.Join(c.trailers, trailers)
}

// transport is the same for unary handlers, whose SetTrailer may fail.
type transport struct{ *call }

func (t transport) Method() string { return "/" + t.attempt.assignment.Method }

func (t transport) SetTrailer(trailers metadata.MD) error {
	t.call.SetTrailer(trailers)
	return nil
}

func entries(pairs metadata.MD) []*weftv1.Metadatum {
	var found []*weftv1.Metadatum
	for key, values := range pairs {
		for _, value := range values {
			found = append(found, &weftv1.Metadatum{Key: key, Value: []byte(value)})
		}
	}
	return found
}
