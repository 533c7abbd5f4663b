package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

var bounds = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2, 2.5, 5, 10}

// metrics are the two families that Haldane's preset App reads, in Prometheus' text format.
type metrics struct {
	sync.Mutex
	codes   map[int]uint64
	buckets []uint64
	seconds float64
	count   uint64
}

func newMetrics() *metrics {
	// 200 and 500 exist from the start, so that the first failure is an increase of a known series.
	return &metrics{codes: map[int]uint64{200: 0, 500: 0}, buckets: make([]uint64, len(bounds))}
}

func (m *metrics) add(code int, took time.Duration) {
	m.Lock()
	defer m.Unlock()
	m.codes[code]++
	m.count++
	m.seconds += took.Seconds()
	for i, bound := range bounds {
		if took.Seconds() <= bound {
			m.buckets[i]++
		}
	}
}

func (m *metrics) write(w io.Writer) {
	m.Lock()
	defer m.Unlock()
	fmt.Fprintln(w, "# TYPE http_requests_total counter")
	for _, code := range slices.Sorted(maps.Keys(m.codes)) {
		fmt.Fprintf(w, "http_requests_total{code=\"%d\"} %d\n", code, m.codes[code])
	}
	fmt.Fprintln(w, "# TYPE http_request_duration_seconds histogram")
	for i, bound := range bounds {
		fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=\"%g\"} %d\n", bound, m.buckets[i])
	}
	fmt.Fprintf(w, "http_request_duration_seconds_bucket{le=\"+Inf\"} %d\n", m.count)
	fmt.Fprintf(w, "http_request_duration_seconds_sum %g\nhttp_request_duration_seconds_count %d\n", m.seconds, m.count)
}
