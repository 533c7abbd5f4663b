package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"time"
)

// serve is the shop's checkout service: it answers with its version, and fails as often as it was told to.
func serve(ctx context.Context) error {
	version := env("VERSION", "unknown")
	errorRate, err := strconv.ParseFloat(env("ERROR_RATE", "0"), 64)
	if err != nil || errorRate < 0 || errorRate > 1 {
		return fmt.Errorf("ERROR_RATE must be a number from 0 to 1, not %q", os.Getenv("ERROR_RATE"))
	}
	delay, err := strconv.Atoi(env("DELAY_MS", "0"))
	if err != nil {
		return fmt.Errorf("DELAY_MS must be a whole number, not %q", os.Getenv("DELAY_MS"))
	}
	host, _ := os.Hostname()
	counted := newMetrics()

	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		began, code := time.Now(), http.StatusOK
		time.Sleep(time.Duration(delay) * time.Millisecond)
		if rand.Float64() < errorRate {
			code = http.StatusInternalServerError
		}
		counted.add(code, time.Since(began)) // before the answer: who has the answer finds it counted
		w.Header().Set("x-version", version)
		w.WriteHeader(code)
		fmt.Fprintf(w, "version=%s host=%s code=%d\n", version, host, code)
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		counted.write(w)
	})
	return listen(ctx, mux)
}
