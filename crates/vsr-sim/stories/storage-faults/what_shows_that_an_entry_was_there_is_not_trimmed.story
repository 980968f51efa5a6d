# Nobody can tell any more which entry r1 had at op 5: its record and its ring header are damaged. What shows that there was
# one are the damaged bytes, and so the log does not let go of them, whatever checkpoints make superfluous: when the mark
# is lost as well, r1 still does not say that it never had that entry. (storage.md, "Torn or damaged".)
cluster 3 checkpoint-every 4
given load c1 3 k
given run 200ms
given block r0->r2 prepare
given block r1->r0 prepare-ok
given batch c1 c2 put x 4
given deliver r0->r1 prepare
given request c3 put x 5
given deliver r0->r1 prepare
given request c4 put x 6
given deliver r0->r1 prepare
given idle r1
given crash r1
corrupt r1 log 5
corrupt r1 header 5
restart r1
given block r0->r1 entry prepare
given block r2->r1 entry
given unblock r0->r2
given run 500ms
expect r1 checkpoint 4
expect r1 missing 1
expect r0 commit 6
given crash r1
corrupt r1 header 5
restart r1
expect r1 missing 1
given unblock r0->r1
given run 5s
expect r1 missing 0
expect same-state *
expect key x 6
