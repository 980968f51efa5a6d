# D1: a START-VIEW of a lower view, delayed, must not bring that view back.
cluster 3
given request c1 put x 1
given settle
given catch r1->r2 start-view as m1
given crash r0
given timeout r1 primary-silence
given timeout r2 primary-silence
given deliver r1->r2 all
given deliver r2->r1 all
given deliver r1->r2 all
expect r1 primary
expect r2 status view-change
drop r2->r1
timeout r2 view-change-stuck
abdicate r1
deliver r1->r2 start-view-change
expect r2 view 2
release m1
deliver r1->r2 start-view
expect r2 ignored older-view
expect r2 view 2
settle
expect r2 primary
expect reply c1 "ok"
