# The entries' timestamps say when a period is over, not the replicas' clocks: r1, whose clock runs at half the speed,
# takes its checkpoints after the same entries.
cluster 3 checkpoint-time 100ms
clock r1 0.5
given run 1050ms
given request c1 put x 1
given settle
given request c1 put x 2
given settle
given run 100ms
request c1 put x 3
given settle
given request c1 put x 4
given settle
expect r0 checkpoint 3
expect r1 checkpoint 3
expect r2 checkpoint 3
