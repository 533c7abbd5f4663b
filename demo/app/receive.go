package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
)

// receiver prints each CloudEvent it is sent on a line of its own, and agrees to it.
func receiver() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var event any
		if err := json.Unmarshal(body, &event); err != nil {
			http.Error(w, "not JSON: "+err.Error(), http.StatusBadRequest)
			return
		}
		line, _ := json.Marshal(event)
		fmt.Printf("%s\n", line)
		w.WriteHeader(http.StatusNoContent)
	})
	return mux
}
