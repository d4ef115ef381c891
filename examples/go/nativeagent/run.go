package main

import (
	"context"
	"log"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	weftv1 "weft-examples/gen/weft/v1"
)

// accept takes an assignment, unless it is held already (R11). All but `run` is called under the agent's lock.
func (a *Agent) accept(assignment *weftv1.Assignment) {
	attempt := &attempt{
		ref: ref{assignment.TaskId, assignment.Attempt}, assignment: assignment, epoch: a.epoch, held: true,
	}
	if known := a.attempts[attempt.ref]; known != nil {
		if !known.released {
			return
		}
		// It was handed back, and comes again.
		a.drop(known)
	}
	a.attempts[attempt.ref] = attempt
	if a.draining || a.holdingBack {
		a.release(attempt)
		return
	}
	if _, hosted := a.methods[assignment.Method]; !hosted {
		a.finish(attempt, failure(status.Newf(codes.Unimplemented, "this agent does not host %s", assignment.Method)))
		return
	}
	if assignment.TimeLeft != nil {
		// By what is left, not by the deadline: clocks differ (R16, R17).
		attempt.timer = time.AfterFunc(assignment.TimeLeft.AsDuration(), func() {
			a.lock.Lock()
			defer a.lock.Unlock()
			a.finish(attempt, failure(status.New(codes.DeadlineExceeded, "the attempt's time limit passed")))
			a.end(attempt, 0)
		})
	}
	a.waiting = append(a.waiting, attempt)
	a.startWaiting()
}

// startWaiting starts what waits, by priority and then in order, while there are slots (R15).
func (a *Agent) startWaiting() {
	a.waiting = slices.DeleteFunc(a.waiting, func(attempt *attempt) bool { return attempt.over() })
	slices.SortStableFunc(a.waiting, func(x, y *attempt) int {
		return int(y.assignment.Priority) - int(x.assignment.Priority)
	})
	for len(a.waiting) > 0 && len(a.running) < int(a.slots) {
		attempt := a.waiting[0]
		a.waiting = a.waiting[1:]
		ctx, cancel := context.WithCancel(context.Background())
		attempt.cancel = cancel
		a.running[attempt] = true
		go a.run(ctx, attempt)
		a.beat()
	}
}

// end cancels an attempt; a handler that does not end within the grace is given up (R30 to R32).
func (a *Agent) end(attempt *attempt, grace time.Duration) {
	cancelled := failure(status.New(codes.Canceled, "cancelled"))
	if attempt.cancel == nil {
		a.finish(attempt, cancelled)
		a.startWaiting()
		return
	}
	attempt.cancel()
	time.AfterFunc(grace, func() {
		a.lock.Lock()
		defer a.lock.Unlock()
		a.finish(attempt, cancelled)
	})
}

// handBack releases all that waits for a slot.
func (a *Agent) handBack() {
	for _, attempt := range a.waiting {
		a.release(attempt)
	}
	a.startWaiting()
}

// run calls the handler; its slot is free when it has returned, however its attempt has ended by then.
func (a *Agent) run(ctx context.Context, attempt *attempt) {
	call := newCall(ctx, a, attempt)
	response, err := call.invoke(a.methods[attempt.assignment.Method])
	outcome := call.outcome(response, err)

	a.lock.Lock()
	defer a.lock.Unlock()
	if size := len(outcome.Response); a.limit > 0 && uint64(size) > a.limit {
		outcome = failure(status.Newf(codes.ResourceExhausted, "the response is %d bytes; the limit is %d", size, a.limit))
	}
	a.finish(attempt, outcome)
	attempt.cancel()
	if attempt.timer != nil {
		attempt.timer.Stop()
	}
	delete(a.running, attempt)
	a.startWaiting()
}

// invoke calls generated code, which calls the servicer.
func (c *call) invoke(method method) (response any, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			log.Printf("%s panicked: %v", c.attempt.assignment.Method, fault)
			err = status.Error(codes.Unknown, "the handler panicked")
		}
	}()
	if method.stream != nil {
		return nil, method.stream.Handler(method.servicer, c)
	}
	return method.unary.Handler(method.servicer, c.ctx, c.RecvMsg, nil)
}

// outcome is the handler's own answer (R13).
func (c *call) outcome(response any, err error) *weftv1.Outcome {
	outcome := &weftv1.Outcome{}
	if err == nil && response != nil {
		outcome.Response, err = proto.Marshal(response.(proto.Message))
	}
	if err != nil {
		known, ok := status.FromError(err)
		if !ok {
			known = status.FromContextError(err)
		}
		outcome = failure(known)
	}
	outcome.Headers, outcome.Trailers = entries(c.headers), entries(c.trailers)
	return outcome
}

func failure(status *status.Status) *weftv1.Outcome {
	return &weftv1.Outcome{Status: status.Proto()}
}
