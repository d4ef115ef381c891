// Command go_xds is a stock client that finds agents by xDS, as tests/support/xds_caller.py is: GRPC_XDS_BOOTSTRAP names its bootstrap file.
//
//	go_xds            calls without TLS
//	go_xds TOKEN      calls by the credentials that the mesh tells, and shows the token
//
// It calls the probe service without end, and prints a line of JSON for each lot: which agents have answered how many, and how calls have failed.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	xdscreds "google.golang.org/grpc/credentials/xds"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

const (
	target  = "xds:///probe.v1.ProbeService"
	method  = "/probe.v1.ProbeService/Call"
	lot     = 40
	atATime = 4
)

// Empty messages need no generated code: they are no bytes.
type empty struct{}

func (empty) Marshal(any) ([]byte, error) { return nil, nil }
func (empty) Unmarshal([]byte, any) error { return nil }
func (empty) Name() string                { return "proto" }
func transport() credentials.TransportCredentials {
	if len(os.Args) < 2 {
		return insecure.NewCredentials()
	}
	made, err := xdscreds.NewClientCredentials(xdscreds.ClientOptions{FallbackCreds: insecure.NewCredentials()})
	if err != nil {
		panic(err)
	}
	return made
}

type counts struct {
	sync.Mutex
	Answers  map[string]int `json:"answers"`
	Failures map[string]int `json:"failures"`
}

func (c *counts) call(channel *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, token := range os.Args[1:] {
		ctx = metadata.AppendToOutgoingContext(ctx, "weft-token", token)
	}
	var trailer metadata.MD
	err := channel.Invoke(ctx, method, nil, nil, grpc.ForceCodec(empty{}), grpc.Trailer(&trailer))
	c.Lock()
	defer c.Unlock()
	if err != nil {
		c.Failures[fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())]++
		time.Sleep(50 * time.Millisecond)
		return
	}
	for _, agent := range trailer.Get("weft-agent") {
		c.Answers[agent]++
	}
}

func main() {
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport()))
	if err != nil {
		panic(err)
	}
	defer channel.Close()
	for {
		found := &counts{Answers: map[string]int{}, Failures: map[string]int{}}
		var callers sync.WaitGroup
		for range atATime {
			callers.Add(1)
			go func() {
				defer callers.Done()
				for range lot / atATime {
					found.call(channel)
				}
			}()
		}
		callers.Wait()
		line, _ := json.Marshal(found)
		fmt.Println(string(line))
		time.Sleep(20 * time.Millisecond)
	}
}
