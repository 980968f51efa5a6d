# r1 finds a record damaged when it reads it, and marks it so. Before anybody gives it the entry it stops again: the mark is on its
# disk, so that it knows at its start what it lacks, and asks for it. (storage.md, promise 3; protocol-aware recovery.)
cluster 3
given load c1 4 k
given run 100ms
given block r0->r1 entry prepare
given block r2->r1 entry
given crash r1
given corrupt r1 log 2
restart r1
given run 100ms
expect r1 missing 1
given crash r1
restart r1
expect r1 missing 1
given unblock r0->r1
given run 2s
expect r1 missing 0
expect r1 repaired 1
expect same-state *
