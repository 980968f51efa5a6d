# D8: a replica that is normal in a view, and has acknowledged entries in it, ignores the START-VIEW
# that began the view.
cluster 3
given crash r0
given catch r1->r2 start-view as m1
given timeout r1 primary-silence
given timeout r2 primary-silence
given settle
given timeout r1 heartbeat
given settle
expect r2 status normal
request c1 put x 1
resend c1
settle
expect reply c1 "ok"
expect r2 op 1
release m1
deliver r1->r2 start-view
expect r2 ignored wrong-status
expect r2 op 1
