package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// share is a number from 0 to 1 that may change while requests are served.
type share struct{ atomic.Value }

func (s *share) get() float64 { return s.Load().(float64) }

func (s *share) set(name, text string) error {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil || value < 0 || value > 1 {
		return fmt.Errorf("%s must be a number from 0 to 1, not %q", name, text)
	}
	s.Store(value)
	return nil
}

// after tells how long after its start something happens; 0: never.
func after(name string) (time.Duration, error) {
	length, err := time.ParseDuration(env(name, "0s"))
	if err != nil {
		return 0, fmt.Errorf("%s must be a duration such as 60s, not %q", name, os.Getenv(name))
	}
	return length, nil
}

// serve is the shop's checkout service: it answers with its version, and is as bad as it was told to be.
func serve(ctx context.Context) error {
	version := env("VERSION", "unknown")
	var failing, slow share
	delay, err := strconv.Atoi(env("DELAY_MS", "0"))
	if err != nil {
		return fmt.Errorf("DELAY_MS must be a whole number, not %q", os.Getenv("DELAY_MS"))
	}
	hangs, err := after("HANG_AFTER")
	if err != nil {
		return err
	}
	crashes, err := after("CRASH_AFTER")
	if err != nil {
		return err
	}
	if err := failing.set("ERROR_RATE", env("ERROR_RATE", "0")); err != nil {
		return err
	}
	if err := slow.set("SLOW_SHARE", env("SLOW_SHARE", "1")); err != nil {
		return err
	}
	host, _ := os.Hostname()
	counted, start := newMetrics(), time.Now()
	if crashes > 0 {
		time.AfterFunc(crashes, func() { log.Fatal("it crashes, as CRASH_AFTER says") })
	}

	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		began, code := time.Now(), http.StatusOK
		if hangs > 0 && time.Since(start) > hangs {
			<-r.Context().Done()
			return
		}
		if rand.Float64() < slow.get() {
			time.Sleep(time.Duration(delay) * time.Millisecond)
		}
		if rand.Float64() < failing.get() {
			code = http.StatusInternalServerError
		}
		counted.add(code, time.Since(began)) // before the answer: who has the answer finds it counted
		w.Header().Set("x-version", version)
		w.WriteHeader(code)
		fmt.Fprintf(w, "version=%s host=%s code=%d\n", version, host, code)
	})
	mux.HandleFunc("/fault", func(w http.ResponseWriter, r *http.Request) { // what a broken node or dependency does
		if err := failing.set("errors", r.URL.Query().Get("errors")); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		counted.write(w)
	})
	return listen(ctx, mux)
}
