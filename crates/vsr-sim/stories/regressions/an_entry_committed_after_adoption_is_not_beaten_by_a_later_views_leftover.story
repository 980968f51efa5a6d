# SEED-S1: the log view is that of the last normal view, not that of the last entry. Op 1 of view 0 is
# adopted and committed in view 2; an op 1 that view 1 never committed must not win view 3.
cluster 3
request c1 put x adopted
given drop r0->r1
given drop r0->r2
cut r0 | r1 r2
given catch r1->r2 start-view as lost
timeout r1 primary-silence
timeout r2 primary-silence
settle
expect r1 primary
request c2 put x leftover
given resend c2
given drop r1->r2
crash r1
heal
timeout r2 view-change-stuck
deliver r2->r0 start-view-change
timeout r0 view-change-stuck
settle
expect r2 primary
expect r2 view 2
settle
expect r2 commit 1
crash r2
restart r1
settle
timeout r0 primary-silence
settle
maybe timeout r1 primary-silence
maybe timeout r1 view-change-stuck
settle
expect r0 primary
expect key x adopted
