# D6: a DO-VIEW-CHANGE for an earlier view says nothing about this one.
cluster 2
given catch r0->r1 do-view-change as m1
abdicate r0
settle
expect r1 view 1
expect not some primary
timeout r0 view-change-stuck
timeout r1 view-change-stuck
settle
expect r0 primary
expect r0 view 2
request c1 put x 1
resend c1
settle
expect reply c1 "ok"
given catch r0->r1 do-view-change as m2
abdicate r0
settle
expect r1 view 3
release m1
deliver r0->r1 do-view-change
expect r1 ignored older-view
expect r1 status view-change
release m2
settle
expect r1 primary
expect key x 1
