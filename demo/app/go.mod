module haldane.dev/demo

go 1.24
