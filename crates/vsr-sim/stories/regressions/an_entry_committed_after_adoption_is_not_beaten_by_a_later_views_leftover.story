# SEED-S1: the log view is that of the last normal view, not that of the last entry. Op 1 of view 0 is
# adopted and committed in view 2; an op 1 that view 1 never committed must not win view 3.
cluster 3
given cut c1->r1
given cut c2->r0
request c1 put x adopted
given drop r0->r1
given drop r0->r2
cut r0 | r1 r2
given block r1->r2 start-view
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
expect r1 primary
given block r1->r2 prepare
request c2 put x leftover
given resend c2
crash r1
given drop r1->r2
heal
given cut c2->r2
given cut c2->r0
timeout r2 view-change-stuck
given deliver r2->r0 all
given timeout r0 view-change-stuck
given settle
expect r2 primary
expect r2 view 2
expect r2 commit 1
crash r2
given restart r1
given settle
given timeout r0 primary-silence
given maybe timeout r1 primary-silence
given settle
given maybe timeout r1 view-change-stuck
given settle
expect r0 primary
request c1 get x
resend c1
given settle
expect reply c1 "adopted"
