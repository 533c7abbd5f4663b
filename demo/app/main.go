// The demo's one program: the shop's checkout service, and the tools the demo needs around it.
//
//	demo            serve HTTP; VERSION, PORT and how bad it is come from the environment:
//	                ERROR_RATE (0..1), DELAY_MS for a SLOW_SHARE (0..1) of the requests, HANG_AFTER, CRASH_AFTER (60s)
//	demo get URL    a smoke test: succeeds when the answer is below 400
//	demo load ...   send a constant rate of requests and count what came back
//	demo receive    log the CloudEvents that are posted
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	command := "serve"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	var err error
	switch command {
	case "serve":
		err = serve(ctx)
	case "get":
		err = get(os.Args[2:])
	case "load":
		err = load(ctx, os.Args[2:])
	case "receive":
		err = listen(ctx, receiver())
	default:
		err = fmt.Errorf("unknown command %q; there are serve, get, load and receive", command)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

// listen serves until the signal, then goes on with open connections until they are idle.
func listen(ctx context.Context, handler http.Handler) error {
	server := &http.Server{Addr: ":" + env("PORT", "8080"), Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	log.Printf("listening on %s", server.Addr)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	log.Print("draining")
	drained, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return server.Shutdown(drained)
}

// get prints the answer; one of 400 or above is an error.
func get(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: demo get URL")
	}
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(args[0])
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s answered %s", args[0], answer.Status)
	}
	return nil
}
