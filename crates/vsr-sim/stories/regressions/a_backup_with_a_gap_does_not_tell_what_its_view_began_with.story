# r2 acknowledged op 1 in view 0. In view 1 r0 received op 3 and not op 2, and its primary r1 is dead. Were r0 to
# tell r2 that the view's log ends with op 3, r2 would have no name for op 1, take it for something of view 0
# that view 1 never had, and deny it. (ADR 16, ADR 22; S14.)

cluster 3
request c1 put x 1
deliver r0->r2 prepare
given drop r2->r0
given cut r2 | r0 r1
given block r0->r1 prepare-ok
given abdicate r0
given timeout r1 primary-silence
given settle
expect r1 primary
request c2 put y 2
drop r1->r0 prepare
request c3 put z 3
deliver r1->r0 prepare
show log r0
crash r1
given heal
given unblock r0->r1
given timeout r0 ping
given settle
expect r2 view 0
timeout r2 get-view
timeout r2 get-view
settle
expect r2 view 0
given run 20s
expect some primary
expect key x 1
expect same-state *
