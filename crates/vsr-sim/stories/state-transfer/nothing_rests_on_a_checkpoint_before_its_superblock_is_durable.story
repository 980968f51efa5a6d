# r2 has taken the state of a checkpoint. Before the superblock that names it is durable it acknowledges
# nothing and votes for nothing: a crash would take it back.
cluster 3 pipeline 1 batch 1 log-slots 17 checkpoint-every 5
given crash r2
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given load c1 8 k
given run 500ms
given restart r2
given settle
disk r2 slow superblock
given timeout r1 ping
given settle
expect r2 commit 20
given timeout r0 ping
settle
timeout r2 primary-silence
settle
disk r2 ok
settle
expect r2 commit 24
expect same-state *
