// A client in Go: lists the systems, and asks for a job that is not there. Prints each system's name, and why there is
// no such job.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	passerelle "passerelle.dev/client/v1"
)

func main() {
	connection, err := grpc.NewClient(os.Getenv("PASSERELLE_ADDRESS"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("PASSERELLE_TOKEN"))

	listed, err := passerelle.NewSystemsServiceClient(connection).ListSystems(ctx, &passerelle.ListSystemsRequest{})
	if err != nil {
		log.Fatal(err)
	}
	for _, system := range listed.Systems {
		fmt.Println("system", system.Name)
	}

	asked := &passerelle.GetJobRequest{System: listed.Systems[0].Name, JobId: "0"}
	_, err = passerelle.NewComputeServiceClient(connection).GetJob(ctx, asked)
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			fmt.Println(status.Code(err), info.Reason)
		}
	}
}
