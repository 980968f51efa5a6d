# Every two ops a checkpoint is taken. When its superblock is durable it counts, and when every
# member has told of one, the log forgets what lies before it. r2's disk is slow for checkpoints:
# until it has one, the others keep what it may need.
cluster 3 checkpoint-every 2
disk r2 slow checkpoint
given request c1 put x 1
given settle
request c1 put x 2
given settle
given run 500ms
expect r0 op 2
disk r2 ok
given run 500ms
show log r0
request c1 put x 3
given settle
run 100ms
expect key x 3
show log r0
expect same-state *
