// The Go side of `lessor/peers`: what src/bin/times.rs and src/bin/memory.rs do to each Rust peer, done to
// etcd's lessor, with the same ids, ttls, order and sizes. It is copied into a copy of etcd's package `lease`,
// whose clock cannot be set from outside: here all deadlines are moved instead.
//
// Each sample is one line: operation, leases, peer and value, with tabs between them.
package lease

import (
	"context"
	"fmt"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	pb "go.etcd.io/etcd/etcdserver/etcdserverpb"
	"go.etcd.io/etcd/mvcc/backend"
	"go.uber.org/zap"
)

func TestPeers(t *testing.T) {
	samples, err := os.Create(os.Getenv("LESSOR_PEERS_SAMPLES"))
	if err != nil {
		t.Fatalf("LESSOR_PEERS_SAMPLES must name the file for the samples: %v", err)
	}
	defer samples.Close()
	report := func(operation string, leases int, peer peer, value float64) {
		fmt.Fprintf(samples, "%s\t%d\t%s\t%.2f\n", operation, leases, peer.name, value)
	}
	memory(report)
	for _, run := range []struct {
		leases, samples int
		peers           []peer
	}{
		{100000, 7, []peer{withAscendingIDs, withoutStore}},
		// A grant takes so long with the same ids that fewer must do.
		{100000, 3, []peer{withSameIDs}},
		{1000000, 3, []peer{withoutStore}},
		// Nearly all of this is bbolt's.
		{1000000, 1, []peer{withAscendingIDs}},
	} {
		for sample := 0; sample < run.samples; sample++ {
			for _, peer := range run.peers {
				life(t, report, run.leases, peer)
				expire(t, report, run.leases, peer)
				if !peer.bolt {
					promote(report, "promote-piled", run.leases, peer, func(int) int64 { return piledTTL })
					promote(report, "promote-spread", run.leases, peer, longTTL)
				}
			}
		}
	}
}

// One column of the table.
type peer struct {
	name string
	id   func(number int) LeaseID
	bolt bool
}

var (
	// What all others are measured with.
	withSameIDs = peer{"etcd, same ids", sameID, true}
	// etcd's server makes ids that ascend, which its store takes far faster.
	withAscendingIDs = peer{"etcd", ascendingID, true}
	// The lessor alone.
	withoutStore = peer{"etcd, no store", sameID, false}
)

type reporter func(operation string, leases int, peer peer, value float64)

// Grants, renews and revokes all of so many leases.
func life(t *testing.T, report reporter, leases int, peer peer) {
	le, closeStore := start(peer)
	defer closeStore()
	le.Promote(0)
	report("grant", leases, peer, perLease(leases, func() { grantAll(le, leases, peer, shortTTL) }))
	report("renew", leases, peer, perLease(leases, func() {
		for call, next := 0, 0; call < leases; call++ {
			next = (next + stride) % leases
			if _, err := le.Renew(peer.id(next)); err != nil {
				t.Fatal(err)
			}
		}
	}))
	report("revoke", leases, peer, perLease(leases, func() {
		for call, next := 0, 0; call < leases; call++ {
			next = (next + stride) % leases
			if err := le.Revoke(peer.id(next)); err != nil {
				t.Fatal(err)
			}
		}
	}))
}

// All leases have expired at once: they are found by batches and revoked. The entries that the retry leaves in
// the heap come up when it is over, and are dropped; that is timed too, and reported beside it.
func expire(t *testing.T, report reporter, leases int, peer peer) {
	le, closeStore := start(peer)
	defer closeStore()
	le.Promote(0)
	grantAll(le, leases, peer, shortTTL)
	moveClock(le, time.Hour)
	revoked := 0
	taken := perLease(leases, func() {
		for revoked < leases {
			for _, l := range le.findExpiredLeases(leaseRevokeRate / 2) {
				if err := le.Revoke(l.ID); err != nil {
					t.Fatal(err)
				}
				revoked++
			}
		}
	})
	moveClock(le, time.Hour)
	leftOver := perLease(leases, func() {
		if found := le.findExpiredLeases(leases); len(found) != 0 {
			t.Fatalf("%d leases have expired twice", len(found))
		}
	})
	report("expire", leases, peer, taken+leftOver)
	report("expire-left-over", leases, peer, leftOver)
}

// A promotion touches no store.
func promote(report reporter, operation string, leases int, peer peer, ttl func(int) int64) {
	le, closeStore := start(peer)
	defer closeStore()
	le.SetCheckpointer(func(context.Context, *pb.LeaseCheckpointRequest) {})
	grantAll(le, leases, peer, ttl)
	report(operation, leases, peer, perLease(leases, func() { le.Promote(time.Second) }))
}

// What is left on the heap after a collection, without a store, whose memory is not the lessor's.
func memory(report reporter) {
	const leases = 1000000
	for _, kind := range []struct {
		operation   string
		ttl         func(int) int64
		checkpoints bool
		items       bool
	}{
		{"bytes", shortTTL, false, false},
		{"bytes-long", longTTL, true, false},
		{"bytes-item", shortTTL, false, true},
	} {
		before := heapInUse()
		le, closeStore := start(withoutStore)
		if kind.checkpoints {
			le.SetCheckpointer(func(context.Context, *pb.LeaseCheckpointRequest) {})
		}
		le.Promote(0)
		grantAll(le, leases, withoutStore, kind.ttl)
		for number := 0; kind.items && number < leases; number++ {
			item := LeaseItem{Key: fmt.Sprintf("%016x", uint64(sameID(number)))}
			if err := le.Attach(sameID(number), []LeaseItem{item}); err != nil {
				panic(err)
			}
		}
		report(kind.operation, leases, withoutStore, float64(heapInUse()-before)/leases)
		runtime.KeepAlive(le)
		closeStore()
	}
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// The nanoseconds that some work takes for each lease.
func perLease(leases int, work func()) float64 {
	runtime.GC()
	begin := time.Now()
	work()
	return float64(time.Since(begin).Nanoseconds()) / float64(leases)
}

func grantAll(le *lessor, leases int, peer peer, ttl func(int) int64) {
	for number := 0; number < leases; number++ {
		if _, err := le.Grant(peer.id(number), ttl(number)); err != nil {
			panic(err)
		}
	}
}

// Moves all deadlines as if so much time had passed. Their order stays, so the heap remains one.
func moveClock(le *lessor, passed time.Duration) {
	for _, item := range le.leaseExpiredNotifier.queue {
		item.time -= int64(passed)
	}
	for _, l := range le.leaseMap {
		l.expiry = l.expiry.Add(-passed)
	}
}

// A lessor that is not primary yet, and whose loop has ended, so that nothing is done but what is timed.
func start(peer peer) (*lessor, func()) {
	var b backend.Backend = nothing{}
	closeStore := func() {}
	if peer.bolt {
		bolt, path := backend.NewDefaultTmpBackend()
		b = bolt
		closeStore = func() {
			bolt.Close()
			os.Remove(path)
		}
	}
	le := newLessor(zap.NewNop(), b, nil, LessorConfig{MinLeaseTTL: 1})
	le.SetRangeDeleter(func() TxnDelete {
		txn := &FakeTxnDelete{b.BatchTx()}
		txn.Lock()
		return txn
	})
	le.Stop()
	return le, closeStore
}

// A store that keeps nothing, to tell the lessor's own time from bbolt's. What it lacks is never called.
type nothing struct{ backend.Backend }

func (nothing) BatchTx() backend.BatchTx { return nothingTx{} }
func (nothing) ForceCommit()             {}

type nothingTx struct{ backend.BatchTx }

func (nothingTx) Lock()                                               {}
func (nothingTx) Unlock()                                             {}
func (nothingTx) UnsafeCreateBucket([]byte)                           {}
func (nothingTx) UnsafePut(_, _, _ []byte)                            {}
func (nothingTx) UnsafeDelete(_, _ []byte)                            {}
func (nothingTx) UnsafeForEach([]byte, func(_, _ []byte) error) error { return nil }

// What follows is the same as in src/lib.rs.

func sameID(number int) LeaseID {
	return LeaseID((uint64(number)+1)*0x9e3779b97f4a7c15&math.MaxInt64 | 1)
}

func shortTTL(number int) int64 { return int64(60 + number%240) }
func longTTL(number int) int64  { return int64(1000 + number%2000) }

const (
	piledTTL = 60
	stride   = 7368787
)

// A member's number, the time and a count, as package idutil joins them.
func ascendingID(number int) LeaseID { return LeaseID(1<<56 + number) }
