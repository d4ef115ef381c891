// Command client calls a method that an agent in Python hosts, with a stock generated client: durably, and directly.
//
//	weft up &
//	client 127.0.0.1:7700 some_file.py
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	corpusv1 "weft-examples/gen/corpus/v1"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: client HOST:PORT FILE")
	}
	source, err := os.ReadFile(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	corpus := corpusv1.NewCorpusServiceClient(connection)
	request := &corpusv1.AnalyzeRequest{FileName: filepath.Base(os.Args[2]), Source: source}

	for _, mode := range []string{"durable", "direct"} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		ctx = metadata.AppendToOutgoingContext(ctx, "weft-mode", mode)
		var trailer metadata.MD
		response, err := corpus.Analyze(ctx, request, grpc.Trailer(&trailer))
		cancel()
		if err != nil {
			log.Fatalf("%s: %v", mode, err)
		}
		fmt.Printf("%s: %s has %d lines and %d functions, says agent %v, task %v\n", mode, response.FileName,
			response.Lines.GetTotal(), len(response.Functions), trailer.Get("weft-agent"), trailer.Get("weft-task-id"))
	}
}
