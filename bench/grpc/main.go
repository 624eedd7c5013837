// SPDX-License-Identifier: MIT
// bench/grpc.c's server in grpc-go.
package main

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/grpc"
	pb "google.golang.org/grpc/interop/grpc_testing"
)

type server struct {
	pb.UnimplementedTestServiceServer
}

func payload(n int32) *pb.Payload { return &pb.Payload{Body: make([]byte, n)} }

func (*server) UnaryCall(_ context.Context, in *pb.SimpleRequest) (*pb.SimpleResponse, error) {
	return &pb.SimpleResponse{Payload: payload(in.ResponseSize)}, nil
}

func (*server) StreamingOutputCall(in *pb.StreamingOutputCallRequest, s grpc.ServerStreamingServer[pb.StreamingOutputCallResponse]) error {
	for _, p := range in.ResponseParameters {
		if err := s.Send(&pb.StreamingOutputCallResponse{Payload: payload(p.Size)}); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", l.Addr())
	s := grpc.NewServer()
	pb.RegisterTestServiceServer(s, &server{})
	log.Fatal(s.Serve(l))
}
