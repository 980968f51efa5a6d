# r2's disk damages a chunk of the state in its checkpoint while r2 is dead. It starts without that state, says so, and
# executes nothing. The chunk is the same at its peers: it is fetched by its digest, and only it. (storage.md,
# "Checkpoints".)
cluster 3 checkpoint-every 2
given load c1 2 k
given run 500ms
expect r2 checkpoint 2
crash r2
corrupt r2 chunk 1
given request c1 put x 3
given settle
restart r2
run 220ms
given run 1s
expect r2 commit 3
expect r2 repaired 2
expect same-state *
