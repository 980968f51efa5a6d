# Paper, section 4.1, step 2: the client-table has the reply for a request that comes again.
cluster 3
request c1 incr n 5
given settle
expect reply c1 "5"
given catch r0->c1 reply as lost
request c1 incr n 5
settle
expect no reply c1
resend c1
settle
expect reply c1 "10"
given timeout r0 heartbeat
given settle
expect key n 10
