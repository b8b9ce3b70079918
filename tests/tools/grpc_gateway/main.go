// Serves the JSON API by grpc-gateway, in front of a gRPC address: with these options it answers as Envoy does.
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/textproto"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	_ "google.golang.org/genproto/googleapis/rpc/errdetails" // Or details of errors cannot be printed.
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	connection, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	exitOn(err)
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &runtime.HTTPBodyMarshaler{
			// Default values are printed, unset messages and optional fields are not; unknown fields are refused.
			Marshaler: &runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitDefaultValues: true}},
		}),
		runtime.WithIncomingHeaderMatcher(incoming),
		runtime.WithOutgoingHeaderMatcher(outgoing),
		runtime.WithOutgoingTrailerMatcher(outgoing),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
	)
	for _, register := range handlers {
		exitOn(register(context.Background(), mux, connection))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	exitOn(err)
	fmt.Println(listener.Addr())
	exitOn(http.Serve(listener, mux))
}

// incoming names the metadata of a request's header. The authorization header is passed on without it.
func incoming(header string) (string, bool) {
	if textproto.CanonicalMIMEHeaderKey(header) == "Idempotency-Key" {
		return "idempotency-key", true
	}
	return runtime.DefaultHeaderMatcher(header)
}

// outgoing names the response's header of metadata, which is the same.
func outgoing(key string) (string, bool) {
	return key, true
}

func exitOn(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
