package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	weftv1 "weft-examples/gen/weft/v1"
)

const (
	welcomeTimeout  = 10 * time.Second
	missedEchoes    = 3
	maxBackoff      = time.Second
	maxMessageBytes = 16 << 20
	batchItems      = 512
	batchBytes      = 1 << 20
)

// stream is one stream to a coordinator, from Hello until it breaks.
type stream struct {
	agent *Agent
	call  grpc.BidiStreamingClient[weftv1.ConnectRequest, weftv1.ConnectResponse]
	// Holds a token when there may be something to send.
	wakes chan struct{}
	// Heartbeats without an echo, since the last one.
	unechoed atomic.Int32
	// Under the agent's lock.
	contract []byte
	beatDue  bool
	sequence uint64
	// The first state that told of the drain, and whether it was echoed: nothing more is assigned then.
	drainSequence uint64
	drainKnown    bool
}

// Run dials each target in turn, for ever (R9). It returns nil after a drain, and an error when refused for good (R10).
func (a *Agent) Run(targets []string) error {
	contract, err := a.contract()
	if err != nil {
		return err
	}
	for turn := 0; ; turn++ {
		err := a.serve(targets[turn%len(targets)], contract)
		if err == nil || a.drained() {
			return nil
		}
		if code := status.Code(err); code == codes.InvalidArgument || code == codes.FailedPrecondition {
			return err
		}
		log.Printf("dialling again: %v", err)
		time.Sleep(rand.N(maxBackoff))
	}
}

// drained says whether a drain has nothing left to wait for, also where there is no coordinator to say goodbye to.
func (a *Agent) drained() bool {
	a.lock.Lock()
	defer a.lock.Unlock()
	return a.draining && len(a.attempts) == 0
}

// serve opens one stream and serves it until it ends; nil: by a goodbye.
func (a *Agent) serve(target string, contract []byte) error {
	ctx, hangUp := context.WithCancelCause(context.Background())
	defer hangUp(nil)
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(maxMessageBytes)))
	if err != nil {
		return err
	}
	defer connection.Close()
	watchdog := time.AfterFunc(welcomeTimeout, func() { hangUp(errors.New("no welcome")) })
	defer watchdog.Stop()
	call, err := weftv1.NewCoordinatorServiceClient(connection).Connect(ctx)
	if err != nil {
		return err
	}
	if err := call.Send(&weftv1.ConnectRequest{Hello: a.hello(contract)}); err != nil && err != io.EOF {
		return err
	}
	first, err := call.Recv()
	if err != nil {
		return err
	}
	if first.Welcome == nil {
		return errors.New("the first message holds no welcome")
	}
	watchdog.Stop()
	session := &stream{agent: a, call: call, wakes: make(chan struct{}, 1)}
	if first.Welcome.ContractNeeded {
		session.contract = contract
	}
	a.attach(session, first.Welcome)
	defer a.attach(nil, nil)
	go session.beats(ctx, hangUp, first.Welcome.HeartbeatInterval.AsDuration())
	go session.sends(ctx)
	for message := first; ; {
		a.handle(session, message)
		if message, err = call.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return err
		}
	}
}

// attach makes a stream the one that things are sent on; nil: there is none now.
func (a *Agent) attach(session *stream, welcome *weftv1.Welcome) {
	a.lock.Lock()
	defer a.lock.Unlock()
	if a.stream = session; session != nil {
		a.settle(welcome)
		a.desired(welcome.DesiredState)
		a.beat()
	}
}

// handle takes one message, its parts in the order of their field numbers (R18).
func (a *Agent) handle(session *stream, message *weftv1.ConnectResponse) {
	a.lock.Lock()
	defer a.lock.Unlock()
	for _, assignment := range message.Assignments {
		a.accept(assignment)
	}
	for _, cancel := range message.Cancels {
		if attempt := a.attempts[ref{cancel.TaskId, cancel.Attempt}]; attempt != nil {
			if cancel.Lost {
				a.drop(attempt)
			}
			a.end(attempt, cancel.Grace.AsDuration())
		}
	}
	for _, ack := range message.ResultAcks {
		if attempt := a.attempts[ref{ack.TaskId, ack.Attempt}]; attempt != nil && attempt.result != nil {
			a.drop(attempt)
		}
	}
	for _, ack := range message.ProgressAcks {
		if attempt := a.attempts[ref{ack.TaskId, ack.Attempt}]; attempt != nil {
			for len(attempt.progress) > 0 && attempt.progress[0].Index <= ack.Index {
				attempt.progress = attempt.progress[1:]
			}
			a.room.Broadcast()
		}
	}
	a.desired(message.DesiredState)
	if message.EchoSequence > 0 {
		session.unechoed.Store(0)
		session.drainKnown = session.drainSequence > 0 && message.EchoSequence >= session.drainSequence
		// An echo is the acknowledgement of hand-backs that came with its state or before it.
		for _, attempt := range a.attempts {
			if attempt.released && attempt.releasedAt > 0 && attempt.releasedAt <= message.EchoSequence {
				a.drop(attempt)
			}
		}
	}
	a.wake()
}

// desired does what an operator wants (R35); the coordinator itself assigns nothing to a paused agent.
func (a *Agent) desired(state weftv1.DesiredState) {
	if state != weftv1.DesiredState_DESIRED_STATE_UNSPECIFIED {
		if a.holdingBack = state == weftv1.DesiredState_DESIRED_STATE_DRAINING; a.holdingBack {
			a.handBack()
		}
	}
}

// beat sends a state now; wake looks for whatever there is to send. Under the lock.
func (a *Agent) beat() {
	if a.stream != nil {
		a.stream.beatDue = true
	}
	a.wake()
}

func (a *Agent) wake() {
	if a.stream != nil {
		select {
		case a.stream.wakes <- struct{}{}:
		default:
		}
	}
}

// beats sends heartbeats, and hangs up when they are not echoed (R7, R8).
func (s *stream) beats(ctx context.Context, hangUp context.CancelCauseFunc, interval time.Duration) {
	ticker := time.NewTicker(max(interval, 10*time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if s.unechoed.Add(1) > missedEchoes {
				hangUp(fmt.Errorf("no echo of %d heartbeats", missedEchoes))
				return
			}
			s.agent.lock.Lock()
			s.agent.beat()
			s.agent.lock.Unlock()
		}
	}
}

// sends is the one goroutine that sends: all that waits in each message, and nothing is held back.
func (s *stream) sends(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.wakes:
		}
		for message := s.compose(); message != nil; message = s.compose() {
			// What goes wrong is told by Recv.
			if s.call.Send(message) != nil {
				return
			}
			if message.Goodbye {
				_ = s.call.CloseSend()
				return
			}
		}
	}
}

// compose takes what there is to send, up to the bounds of a batch; nil: nothing.
func (s *stream) compose() *weftv1.ConnectRequest {
	a := s.agent
	a.lock.Lock()
	defer a.lock.Unlock()
	message, items, size := &weftv1.ConnectRequest{}, 0, 0
	if s.contract != nil {
		message.Contract, s.contract = &weftv1.Contract{FileDescriptorSet: s.contract}, nil
		items++
	}
	for len(a.queue) > 0 && items < batchItems && size < batchBytes {
		next := a.queue[0]
		a.queue = a.queue[1:]
		switch {
		case !next.attempt.held:
			continue
		case next.progress != nil:
			message.Progress = append(message.Progress, next.progress)
			size += len(next.progress.Payload)
		case next.attempt.result != nil:
			message.Results = append(message.Results, next.attempt.result)
			size += len(next.attempt.result.Outcome.Response)
		default:
			message.Released = append(message.Released, &weftv1.Released{TaskId: next.attempt.taskID, Attempt: next.attempt.number})
			next.attempt.releasedAt = s.sequence + 1
		}
		items++
	}
	if s.beatDue || len(message.Released) > 0 {
		s.beatDue = false
		message.State = s.state()
		items++
	}
	if items == 0 {
		if !a.draining || !s.drainKnown || len(a.attempts) > 0 {
			return nil
		}
		message.Goodbye = true
	}
	return message
}

// state is a heartbeat.
func (s *stream) state() *weftv1.AgentReport {
	a := s.agent
	s.sequence++
	if a.draining && s.drainSequence == 0 {
		s.drainSequence = s.sequence
	}
	report := &weftv1.AgentReport{
		Sequence: s.sequence, UsedSlots: uint32(len(a.running)), Waiting: uint32(len(a.waiting)), Draining: a.draining,
	}
	for attempt := range a.running {
		if attempt.over() {
			report.StuckSlots++
		}
	}
	return report
}
