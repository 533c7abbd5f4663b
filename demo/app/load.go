package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"
)

// noVersion stands for requests that got no answer, or one that no version of the service gave.
const noVersion = "none"

type failure struct {
	At      time.Time `json:"at"`
	Version string    `json:"version"`
	Code    int       `json:"code,omitempty"`
	Error   string    `json:"error,omitempty"`
}

type answers struct {
	First time.Time   `json:"first"`
	Last  time.Time   `json:"last"`
	Codes map[int]int `json:"codes"`
}

type summary struct {
	Sent      int                 `json:"sent"`
	Failed    int                 `json:"failed"`
	Versions  map[string]*answers `json:"versions"`
	MaxMillis int64               `json:"maxMillis"`
	P99Millis int64               `json:"p99Millis"`
	Failures  []failure           `json:"failures"`

	sync.Mutex
	latencies []time.Duration
}

// load sends requests at fixed moments whether or not the earlier ones were answered: a slow service cannot hide by
// slowing its clients down. Latency counts from the moment a request was due.
func load(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	url := flags.String("url", "", "where to send")
	host := flags.String("host", "", "Host header, when it is not the URL's")
	rate := flags.Int("rate", 80, "requests per second, at most 100")
	connections := flags.Int("connections", 8, "connections at the same time, kept alive but with --fresh")
	fresh := flags.Bool("fresh", false, "a new connection for each request: those that are kept stay with their pod")
	last := flags.Duration("for", 0, "stop after this long; 0: at SIGTERM or the stop file")
	stopFile := flags.String("stop-file", "", "stop when this file exists")
	out := flags.String("out", "", "rewrite this file with the summary each half second")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *url == "" || *rate < 1 || *rate > 100 || *connections < 1 {
		return errors.New("load needs --url, --rate from 1 to 100 and --connections of 1 or more")
	}
	if *last > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *last)
		defer cancel()
	}

	client := &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			MaxConnsPerHost: *connections, MaxIdleConnsPerHost: *connections, DisableCompression: true, DisableKeepAlives: *fresh,
		},
	}
	seen := &summary{Versions: map[string]*answers{}, Failures: []failure{}}
	var open sync.WaitGroup
	due, gap := time.Now(), time.Second/time.Duration(*rate)
	nextFile := due
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(due)):
			open.Add(1)
			go func(due time.Time) {
				defer open.Done()
				seen.count(due, request(client, *url, *host))
			}(due)
			due = due.Add(gap)
		}
		if now := time.Now(); now.After(nextFile) {
			nextFile = now.Add(500 * time.Millisecond)
			if err := seen.save(*out); err != nil {
				return err
			}
			if _, err := os.Stat(*stopFile); *stopFile != "" && err == nil {
				break
			}
		}
	}
	open.Wait()
	if err := seen.save(*out); err != nil {
		return err
	}
	text, err := seen.json()
	fmt.Println(string(text))
	return err
}

// request returns the failure it ended in; one without code and error is a success.
func request(client *http.Client, url, host string) failure {
	ask, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return failure{Version: noVersion, Error: err.Error()}
	}
	ask.Host = host
	answer, err := client.Do(ask)
	if err != nil {
		return failure{Version: noVersion, Error: err.Error()}
	}
	defer answer.Body.Close()
	result := failure{Version: answer.Header.Get("x-version"), Code: answer.StatusCode}
	if result.Version == "" {
		result.Version = noVersion
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return failure{Version: noVersion, Error: "the answer broke off: " + err.Error()}
	}
	return result
}

func (s *summary) count(due time.Time, result failure) {
	now := time.Now()
	s.Lock()
	defer s.Unlock()
	s.Sent++
	s.latencies = append(s.latencies, now.Sub(due))
	version := s.Versions[result.Version]
	if version == nil {
		version = &answers{First: now, Codes: map[int]int{}}
		s.Versions[result.Version] = version
	}
	version.Last = now
	version.Codes[result.Code]++
	if result.Error != "" || result.Code >= 400 || result.Version == noVersion {
		result.At = now
		s.Failed++
		s.Failures = append(s.Failures, result)
	}
}

func (s *summary) json() ([]byte, error) {
	s.Lock()
	defer s.Unlock()
	if sorted := slices.Sorted(slices.Values(s.latencies)); len(sorted) > 0 {
		s.MaxMillis = sorted[len(sorted)-1].Milliseconds()
		s.P99Millis = sorted[len(sorted)*99/100].Milliseconds()
	}
	return json.Marshal(s)
}

// save replaces the file as a whole, so that a reader never meets half of it.
func (s *summary) save(path string) error {
	if path == "" {
		return nil
	}
	text, err := s.json()
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
