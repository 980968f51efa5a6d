# r0 and r1 committed three entries that r2 never got. On r1 the first two were damaged and written anew, behind the
# third, and the first is lost again: what lay there may have been a fourth entry. So r1 comes back unsure of its
# head, and r0 is gone. r2, a backup of the same view, must not tell r1 what the view's log is: it lacks what r1
# acknowledged. The group waits for r0. (protocol.md 5.4; ADR 22.)

cluster 3
cut r0 | r2
cut r1->r2
given load c1 3 k
given corrupt r1 log 1
given scrub r1
given corrupt r1 log 2
given scrub r1
crash r1
corrupt r1 log 1
corrupt r1 header 1
crash r0
heal
restart r1
given run 1s
expect r1 status recovering-head
restart r0
given run 5s
expect some primary
expect same-state *
expect r2 commit 3
