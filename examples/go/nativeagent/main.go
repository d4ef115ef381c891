// Command nativeagent is an agent without a sidecar: it speaks the session protocol of docs/protocol.md itself, and hosts
// stock generated servicers.
//
//	WEFT_TARGET=127.0.0.1:7700 WEFT_AGENT_ID=go nativeagent              hosts the greeter
//	weft conformance --agent "nativeagent conformance"                   hosts what the driver calls
//
// main.go: settings. agent.go: what it is and holds. session.go: the stream. run.go: handlers. call.go: one call's context.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	greeterv1 "weft-examples/gen/greeter/v1"
	conformancev1 "weft-examples/gen/weft/conformance/v1"
)

type greeter struct {
	greeterv1.UnimplementedGreeterServiceServer
}

func (greeter) Greet(_ context.Context, request *greeterv1.GreetRequest) (*greeterv1.GreetResponse, error) {
	if request.Name == "" {
		return nil, status.Error(codes.InvalidArgument, "the request has no name")
	}
	return &greeterv1.GreetResponse{Text: "Hello " + request.Name, Language: "Go, no sidecar"}, nil
}

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	agent := NewAgent(setting("ID", fmt.Sprintf("go-%d", os.Getpid())), number("SLOTS", 8), number("PREFETCH", 0))
	if len(os.Args) == 2 && os.Args[1] == "conformance" {
		conformancev1.RegisterConformanceServiceServer(agent, &conformance{})
	} else {
		greeterv1.RegisterGreeterServiceServer(agent, greeter{})
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		agent.Drain()
	}()
	target := os.Getenv("WEFT_TARGET")
	if target == "" {
		target = "127.0.0.1:7700"
	}
	if err := agent.Run(strings.Split(target, ",")); err != nil {
		log.Fatalf("refused for good: %v", err)
	}
}

func setting(name, otherwise string) string {
	if value := os.Getenv("WEFT_AGENT_" + name); value != "" {
		return value
	}
	return otherwise
}

func number(name string, otherwise uint32) uint32 {
	value, err := strconv.ParseUint(setting(name, fmt.Sprint(otherwise)), 10, 32)
	if err != nil {
		log.Fatalf("WEFT_AGENT_%s: %v", name, err)
	}
	return uint32(value)
}
