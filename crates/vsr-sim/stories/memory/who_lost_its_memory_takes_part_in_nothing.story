# Protocol.md 5.7: a recovering replica acknowledges nothing, neither votes nor joins a view, tells no
# view, confirms no read, and is nobody's answer: not even to another that recovers. What it lacks it does
# not deny.
cluster 5 durability memory
given request c1 put x 1
given settle
crash r4
restart r4
given drop r4->r0
given drop r4->r1
given drop r4->r2
given drop r4->r3
forge r0->r4 prepare view=0 op=1@0
expect r4 ignored recovering
forge r1->r4 start-view-change view=0
expect r4 ignored recovering
forge r1->r4 do-view-change view=1 log-view=0 op=1 log=[1@0]
expect r4 ignored recovering
expect r4 view 0
forge r1->r4 start-view view=1 log=[1@0]
expect r4 ignored recovering
forge r1->r4 get-view view=0 nonce=1.1
expect r4 ignored recovering
forge r0->r4 read-probe view=0 nonce=1.1
expect r4 ignored recovering
forge r3->r4 recovery view=0 nonce=2.1
expect r4 ignored recovering
forge r3->r4 get-entry view=0 wanted=[1@0]
expect r4 status recovering
timeout r4 recovery
settle
expect r4 status backup
