package component

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

func runEtcd(ctx context.Context, c Config) error {
	client := loopbackURL(c.Ports.EtcdClient())
	peer := loopbackURL(c.Ports.EtcdPeer())
	cfg := embed.NewConfig()
	cfg.Name = "sandbox"
	cfg.Dir = c.Dir.Etcd()
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = client, client
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peer, peer
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.LogLevel = "warn"
	// The state need not survive a power cut, only the end of the process: what
	// was written is in the kernel's cache.
	cfg.UnsafeNoFsync = true
	// Unset, etcd takes every request for a slow one and logs it.
	cfg.WarningUnaryRequestDuration = 2 * time.Second
	cfg.QuotaBackendBytes = 2 << 30
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = "periodic", "10m"

	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}
	defer e.Close()
	select {
	case <-ctx.Done():
		return nil
	case err := <-e.Err():
		return err
	case <-e.Server.StopNotify():
		return errors.New("etcd stopped by itself")
	}
}

func loopbackURL(port int) []url.URL {
	return []url.URL{{Scheme: "http", Host: fmt.Sprintf("127.0.0.1:%d", port)}}
}
