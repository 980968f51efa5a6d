# r2 acknowledged X, and only r0 has it beside. It comes back with X's header alone, and r0 is out of reach: if
# it counted now, it and r1, which never had X, would begin a view without it (found by model checking).
cluster 3 durability memory
given block r0->r1 prepare
request c1 put x 1
deliver r0->r2
deliver r2->r0
expect reply c1 "ok"
crash r2
restart r2
given block r0->r2 entry
deliver r2->r0
deliver r2->r1
deliver r0->r2 recovery-response
deliver r1->r2 recovery-response
expect r2 op 1
cut r0 | r1 r2
given run 3s
expect r2 status recovering
expect not r1 primary
heal
given unblock r0->r2
given unblock r0->r1
given run 3s
expect r2 status backup
expect key x 1
expect same-state *
