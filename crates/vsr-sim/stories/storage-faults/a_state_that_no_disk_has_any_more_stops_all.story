# The same chunk is damaged on all disks, and all processes are dead: nobody has the state any more. Each asks the others
# in vain, and once all know that of one another, all stop and say why, rather than wait for ever. (Found by a trial with
# real processes; invariant L9.)
cluster 3 checkpoint-every 4
given load c1 6 k
given run 500ms
given crash r0
given crash r1
given crash r2
given corrupt r0 chunk 1
given corrupt r1 chunk 1
given corrupt r2 chunk 1
restart r0
given restart r1
given restart r2
given run 8s
expect r0 status view-change
given run 30s
expect r0 status halted
expect r1 status halted
expect r2 status halted
