package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log"
	"sort"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	weftv1 "weft-examples/gen/weft/v1"
)

// drainGrace is what running handlers get after SIGTERM.
const drainGrace = 30 * time.Second

// ref names an attempt.
type ref struct {
	taskID string
	number uint32
}

// attempt is one try at a task, from its assignment until its result is acknowledged and its handler has ended.
type attempt struct {
	ref
	assignment *weftv1.Assignment
	epoch      uint64
	// Of a handler that runs; nil before.
	cancel context.CancelFunc
	// Set once it has ended, by whatever came first.
	result *weftv1.AttemptResult
	// Handed back; the state that was sent with it has this number.
	released   bool
	releasedAt uint64
	// Still this agent's, and not dealt with: what Hello names. A handler may outlive it.
	held bool
	// Responses that are not acknowledged yet, and how many there were.
	progress []*weftv1.Progress
	count    uint64
	timer    *time.Timer
}

func (a *attempt) over() bool { return !a.held || a.result != nil || a.released }

// item is something to send: a response, or (with none) an attempt's result or hand-back.
type item struct {
	attempt  *attempt
	progress *weftv1.Progress
}

// method is a hosted method: one of the two is set.
type method struct {
	servicer any
	unary    *grpc.MethodDesc
	stream   *grpc.StreamDesc
}

// Agent hosts servicers and runs what it is assigned. Everything below the lock is under it.
type Agent struct {
	id, instanceID  string
	slots, prefetch uint32
	methods         map[string]method
	services        []protoreflect.FullName

	lock     sync.Mutex
	attempts map[ref]*attempt
	running  map[*attempt]bool
	waiting  []*attempt
	queue    []item
	room     *sync.Cond
	// From Welcome.
	epoch, limit uint64
	holdingBack  bool
	draining     bool
	stream       *stream
}

// NewAgent makes an agent that hosts nothing yet.
func NewAgent(id string, slots, prefetch uint32) *Agent {
	agent := &Agent{
		id: id, instanceID: rand.Text(), slots: slots, prefetch: prefetch,
		methods: map[string]method{}, attempts: map[ref]*attempt{}, running: map[*attempt]bool{},
	}
	agent.room = sync.NewCond(&agent.lock)
	return agent
}

// RegisterService is what generated code calls: an Agent is a grpc.ServiceRegistrar.
func (a *Agent) RegisterService(service *grpc.ServiceDesc, servicer any) {
	a.services = append(a.services, protoreflect.FullName(service.ServiceName))
	for i := range service.Methods {
		a.methods[service.ServiceName+"/"+service.Methods[i].MethodName] = method{servicer: servicer, unary: &service.Methods[i]}
	}
	for i := range service.Streams {
		if !service.Streams[i].ClientStreams {
			a.methods[service.ServiceName+"/"+service.Streams[i].StreamName] = method{servicer: servicer, stream: &service.Streams[i]}
		}
	}
}

// Drain takes nothing more, releases the attempts that wait, lets the rest finish, and ends Run (R36).
func (a *Agent) Drain() {
	a.lock.Lock()
	defer a.lock.Unlock()
	a.draining = true
	a.handBack()
	a.beat()
	time.AfterFunc(drainGrace, func() {
		a.lock.Lock()
		defer a.lock.Unlock()
		for _, attempt := range a.attempts {
			a.release(attempt)
			if attempt.cancel != nil {
				attempt.cancel()
			}
		}
	})
}

// hello says who this is and what it holds (R1, R2, R4, R24).
func (a *Agent) hello(contract []byte) *weftv1.Hello {
	a.lock.Lock()
	defer a.lock.Unlock()
	hash := sha256.Sum256(contract)
	hello := &weftv1.Hello{
		AgentId: a.id, InstanceId: a.instanceID, ContractHash: hex.EncodeToString(hash[:]),
		Slots: a.slots, Prefetch: a.prefetch, Version: "go-example", Draining: a.draining,
	}
	for name := range a.methods {
		hello.Methods = append(hello.Methods, &weftv1.HostedMethod{Name: name})
	}
	sort.Slice(hello.Methods, func(i, j int) bool { return hello.Methods[i].Name < hello.Methods[j].Name })
	for ref, attempt := range a.attempts {
		hello.Held = append(hello.Held, &weftv1.HeldAttempt{
			TaskId: ref.taskID, Attempt: ref.number, Epoch: attempt.epoch, Finished: attempt.result != nil,
		})
	}
	return hello
}

// contract is every file behind the hosted methods, imports first (R6).
func (a *Agent) contract() ([]byte, error) {
	set, seen := &descriptorpb.FileDescriptorSet{}, map[string]bool{}
	var add func(file protoreflect.FileDescriptor)
	add = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			add(file.Imports().Get(i).FileDescriptor)
		}
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	}
	for _, name := range a.services {
		service, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			return nil, fmt.Errorf("%s has no generated descriptor: %w", name, err)
		}
		add(service.ParentFile())
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(set)
}

// -- what it holds: called under the lock ------------------------------------------------------------------------------

// finish keeps an attempt's end until it is acknowledged (R12, R22).
func (a *Agent) finish(attempt *attempt, outcome *weftv1.Outcome) {
	if attempt.over() {
		return
	}
	attempt.result = &weftv1.AttemptResult{
		TaskId: attempt.taskID, Attempt: attempt.number, Outcome: outcome, ProgressCount: attempt.count,
	}
	a.send(item{attempt: attempt})
}

// release hands an attempt back: it costs the task nothing.
func (a *Agent) release(attempt *attempt) {
	if attempt.over() {
		return
	}
	attempt.released = true
	a.send(item{attempt: attempt})
}

// drop forgets an attempt: it is acknowledged, or lost (R23, R26, R34).
func (a *Agent) drop(attempt *attempt) {
	attempt.held = false
	if a.attempts[attempt.ref] == attempt {
		delete(a.attempts, attempt.ref)
	}
	a.room.Broadcast()
	a.wake()
}

func (a *Agent) send(item item) {
	a.queue = append(a.queue, item)
	a.wake()
}

// settle queues again what is not acknowledged, under the new epoch; what was not adopted is lost (R22, R25, R26, R28).
func (a *Agent) settle(welcome *weftv1.Welcome) {
	adopted := map[ref]bool{}
	for _, each := range welcome.Adopted {
		adopted[ref{each.TaskId, each.Attempt}] = true
	}
	a.queue, a.epoch, a.limit = nil, welcome.Epoch, welcome.MaxResponseBytes
	for ref, attempt := range a.attempts {
		if !adopted[ref] {
			a.drop(attempt)
			a.end(attempt, 0)
			continue
		}
		attempt.epoch, attempt.releasedAt = welcome.Epoch, 0
		for _, progress := range attempt.progress {
			a.queue = append(a.queue, item{attempt, progress})
		}
		if attempt.result != nil || attempt.released {
			a.queue = append(a.queue, item{attempt: attempt})
		}
	}
	log.Printf("session %d with %s: %d adopted, %d lost", welcome.Epoch, welcome.CoordinatorId, len(welcome.Adopted), len(welcome.Lost))
}
