# Nobody reads the record of op 6 again, nor the checkpoint, before r1 starts from them, when it may be too late. The scrubber
# reads them while what they had is elsewhere: the record is written again from memory, the chunk comes from a peer.
# (storage.md, "Parts".)
cluster 3 checkpoint-every 4
given load c1 6 k
given run 500ms
expect r1 checkpoint 4
given corrupt r1 log 6
given corrupt r1 chunk 1
given run 500ms
expect r1 repaired 0
scrub r1
given run 500ms
expect r1 repaired 1
given crash r1
restart r1
given run 500ms
expect r1 repaired 0
expect same-state *
