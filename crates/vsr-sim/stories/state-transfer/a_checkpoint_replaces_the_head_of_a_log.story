# r0 was cut off with a single entry, at the very op of the checkpoint that the others have: what it
# acknowledged there is superseded, and is missed by nobody.
cluster 3 pipeline 4 batch 1 log-slots 20 checkpoint-every 5 window 4
given load c1 4 k
given timeout r0 heartbeat
given settle
cut r0 | r1 r2
given request c1 put a 1
expect r0 op 5
given run 3s
expect r1 primary
expect r1 checkpoint 5
disk r1 slow checkpoint
disk r2 slow checkpoint
given load c1 8 k
given run 300ms
given load c1 4 k
given run 300ms
given load c1 3 k
given run 300ms
expect r1 op 20
crash r2
crash r1
block r0->r1 do-view-change
heal
restart r1
disk r1 slow checkpoint
given run 2s
show
expect r0 view 3
expect r0 primary
expect r0 commit 20
expect same-state *
