# The whole demo and its image. KEEP=1 leaves the cluster up at the end.
.PHONY: demo bench-cluster bench-traffic verdicts image

demo:
	demo/demo.sh $(if $(KEEP),,--down)

bench-cluster:
	demo/bench.sh

bench-traffic:
	demo/traffic.sh $(CYCLES)

verdicts:
	demo/verdicts.sh $(WORLDS)

image:
	mkdir -p target/image
	tools/operator-image.sh target/image/haldane.tar
