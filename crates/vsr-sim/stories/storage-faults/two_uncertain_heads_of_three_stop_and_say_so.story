# r0 and r2 lose the end of their logs, which r1 never had: what the two acknowledged may have been committed by them.
# r1 alone changes no view. Once it has been clear for ten seconds that nobody will ever know, those that lost it stop,
# and say why. (Found by a trial with real processes that damaged a tenth of each log; invariant L9.)
cluster 3
given load c1 3 k
given corrupt r0 log 1
given scrub r0
given corrupt r0 log 2
given scrub r0
given corrupt r2 log 1
given scrub r2
given corrupt r2 log 2
given scrub r2
given cut r1 | r0 r2
given crash r0
given crash r2
given corrupt r0 log 1
given corrupt r0 header 1
given corrupt r2 log 1
given corrupt r2 header 1
given heal
restart r0
given restart r2
given run 8s
expect r0 status recovering-head
expect r1 status backup
expect r2 status recovering-head
given run 5s
expect r0 status halted
expect r1 status backup
expect r2 status halted
