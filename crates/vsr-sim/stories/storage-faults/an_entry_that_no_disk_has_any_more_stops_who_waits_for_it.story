# r0 and r1 hold an entry that r2 never had, and nobody was told that it is done. Both stop, and its record is damaged on both
# disks: they may have committed it, and r2 alone cannot deny it. They find it damaged only when the next view has begun with
# it. Once it has been clear for ten seconds that nobody has it, all stop and say why, rather than wait for ever, or go on
# without it. (Invariant L9.)
cluster 3
given load c1 2 k
given run 500ms
given cut r2 | r0 r1
given cut r1->r0
request c1 put k 3
given deliver r0->r1 prepare
given fsync r1
given idle r0
given idle r1
given crash r0
given crash r1
given heal
given corrupt r0 log 3
given corrupt r1 log 3
restart r0
given restart r1
given run 8s
expect r1 durable 2
given run 30s
expect r0 status halted
expect r1 status halted
expect r2 status halted
