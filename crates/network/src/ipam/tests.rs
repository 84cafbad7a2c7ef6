use super::*;
use minke_model::network::NetworkDriver;

fn subnet(text: &str) -> Subnet {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(subnets: &[&str]) -> NetworkSpec {
    let pool = |text: &&str| IpamPool {
        subnet: subnet(text),
        range: None,
        gateway: None,
        auxiliary: Default::default(),
        user_given: true,
        gateway_chosen: false,
    };
    NetworkSpec {
        name: "n".into(),
        driver: NetworkDriver::Bridge,
        ipv4: true,
        ipv6: subnets.iter().any(|s| s.contains(':')),
        internal: false,
        attachable: false,
        ingress: false,
        config_only: false,
        config_from: None,
        options: Default::default(),
        labels: Default::default(),
        ipam_driver: "default".into(),
        ipam_options: None,
        pools: subnets.iter().map(pool).collect(),
    }
}

fn decided(mut spec: NetworkSpec) -> NetworkSpec {
    decide(&mut spec, &Pools::new(&[], "0badcafe"), &[], &[], |_| false).unwrap();
    spec
}

#[test]
fn the_default_pools_are_dockers_and_avoid_what_is_taken() {
    let pools = Pools::new(&[], "0badcafe");
    assert_eq!(pools.choose(false, &[]).unwrap(), subnet("172.17.0.0/16"));
    let taken = [subnet("172.16.0.0/14"), subnet("172.20.5.0/24")];
    assert_eq!(pools.choose(false, &taken).unwrap(), subnet("172.21.0.0/16"));
    let all = [subnet("172.16.0.0/12"), subnet("192.168.0.0/18")];
    assert_eq!(pools.choose(false, &all).unwrap(), subnet("192.168.64.0/20"));
    let none = [subnet("172.16.0.0/12"), subnet("192.168.0.0/16")];
    assert!(matches!(pools.choose(false, &none), Err(NetworkError::NoPool)));
    let ula = pools.choose(true, &[]).unwrap();
    assert!(ula.to_string().starts_with("fd") && ula.prefix == 64, "{ula}");
    let next = pools.choose(true, &[ula]).unwrap();
    assert!(!next.overlaps(&ula) && subnet(&format!("{}/48", ula.address)).overlaps(&next));
}

#[test]
fn given_pools_are_cut_in_order_and_end() {
    let pool: AddressPool = "base=10.9.0.0/22,size=24".parse().unwrap();
    let pools = Pools::new(&[pool], "0");
    let mut taken = Vec::new();
    for third in 0..4 {
        let next = pools.choose(false, &taken).unwrap();
        assert_eq!(next, subnet(&format!("10.9.{third}.0/24")));
        taken.push(next);
    }
    assert!(pools.choose(false, &taken).is_err());
    for bad in ["base=10.0.0.0/8", "size=24", "base=10.0.0.0/24,size=16", "base=10.0.0.0/8,size=33", "x"] {
        assert!(bad.parse::<AddressPool>().is_err(), "{bad}");
    }
}

#[test]
fn a_pool_at_the_very_end_of_the_addresses_ends_too() {
    let pool = AddressPool::new(subnet("255.255.255.0/24"), 25).unwrap();
    let pools = Pools::new(&[pool], "0");
    assert_eq!(pools.choose(false, &[subnet("255.255.255.0/25")]).unwrap(), subnet("255.255.255.128/25"));
    assert!(pools.choose(false, &[subnet("255.255.255.0/24")]).is_err());
    let pool = AddressPool::new(subnet("ffff::/16"), 16).unwrap();
    assert!(Pools::new(&[pool], "0").choose(true, &[subnet("ffff::/16")]).is_err());
    let pool = AddressPool::new(subnet("0.0.0.0/0"), 0).unwrap();
    assert!(Pools::new(&[pool], "0").choose(false, &[subnet("1.0.0.0/8")]).is_err());
}

#[test]
fn a_gateway_is_the_first_address_of_the_range() {
    assert_eq!(decided(spec(&["10.1.0.0/24"])).pools[0].gateway, Some(ip("10.1.0.1")));
    let mut with_range = spec(&["172.28.0.0/16"]);
    with_range.pools[0].range = Some(subnet("172.28.5.0/24"));
    assert_eq!(decided(with_range).pools[0].gateway, Some(ip("172.28.5.0")));
    let mut with_auxiliary = spec(&["10.1.0.0/24"]);
    with_auxiliary.pools[0].auxiliary.insert("router".into(), ip("10.1.0.1"));
    assert_eq!(decided(with_auxiliary).pools[0].gateway, Some(ip("10.1.0.2")));
}

#[test]
fn addresses_are_given_in_turn_and_come_back_late() {
    let mut leases = Leases::new(&decided(spec(&["10.1.0.0/29"])));
    let mut next = || leases.reserve(false, None).map(|l| l.address.to_string());
    assert_eq!(next().unwrap(), "10.1.0.2");
    assert_eq!(next().unwrap(), "10.1.0.3");
    leases.release(ip("10.1.0.2"));
    let rest: Vec<_> = (0..4).map(|_| leases.reserve(false, None).unwrap().address.to_string()).collect();
    assert_eq!(rest, ["10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]);
    let error = leases.reserve(false, None).unwrap_err();
    assert_eq!(error.to_string(), "no available IPv4 addresses on this network's address pools");
}

#[test]
fn fixed_addresses_are_given_once() {
    let mut leases = Leases::new(&decided(spec(&["10.1.0.0/24", "fd77:1::/64"])));
    let leased = leases.reserve(false, Some(ip("10.1.0.9"))).unwrap();
    assert_eq!((leased.prefix, leased.gateway), (24, Some(ip("10.1.0.1"))));
    assert_eq!(
        leases.reserve(false, Some(ip("10.1.0.9"))).unwrap_err().to_string(),
        "Address already in use"
    );
    assert!(matches!(leases.reserve(false, Some(ip("10.1.0.1"))), Err(NetworkError::AddressInUse { .. })));
    assert!(matches!(leases.reserve(false, Some(ip("10.1.0.255"))), Err(NetworkError::AddressInUse { .. })));
    let foreign = leases.reserve(false, Some(ip("10.2.0.9"))).unwrap_err();
    assert_eq!(
        foreign.to_string(),
        "Invalid address 10.2.0.9: It does not belong to any of this network's subnets"
    );
    assert_eq!(leases.reserve(true, None).unwrap().address, ip("fd77:1::2"));
    leases.release(ip("10.1.0.1"));
    assert!(leases.reserve(false, Some(ip("10.1.0.1"))).is_err(), "a gateway is never given back");
    leases.release(ip("10.1.0.9"));
    assert!(leases.reserve(false, Some(ip("10.1.0.9"))).is_ok());
}

#[test]
fn a_range_bounds_what_is_given_unasked_only() {
    let mut with_range = spec(&["10.1.0.0/16"]);
    with_range.pools[0].range = Some(subnet("10.1.4.0/30"));
    let mut leases = Leases::new(&decided(with_range));
    let given: Vec<_> = (0..3).map(|_| leases.reserve(false, None).unwrap().address.to_string()).collect();
    assert_eq!(given, ["10.1.4.1", "10.1.4.2", "10.1.4.3"]);
    assert!(leases.reserve(false, None).is_err());
    assert!(leases.reserve(false, Some(ip("10.1.9.9"))).is_ok());
}

#[test]
fn overlaps_are_refused_with_dockers_words() {
    let mut asked = spec(&["10.1.0.0/24"]);
    let error =
        decide(&mut asked, &Pools::new(&[], "0"), &[subnet("10.0.0.0/8")], &[], |_| false).unwrap_err();
    assert_eq!(error.to_string(), "Pool overlaps with other one on this address space");
    // What the host uses is no reason to refuse a wish.
    decide(&mut asked, &Pools::new(&[], "0"), &[], &[subnet("10.0.0.0/8")], |_| false).unwrap();
    let mut twice = spec(&["10.1.0.0/24", "10.1.0.0/25"]);
    assert!(decide(&mut twice, &Pools::new(&[], "0"), &[], &[], |_| false).is_err());
}

#[test]
fn unfit_pools_are_refused_with_all_reasons() {
    let mut bad = spec(&["10.1.0.1/24"]);
    bad.pools[0].range = Some(subnet("10.2.0.0/16"));
    bad.pools[0].gateway = Some(ip("fd00::1"));
    bad.pools[0].auxiliary.insert("a".into(), ip("10.9.9.9"));
    let text = validate(&bad).unwrap_err().to_string();
    assert_eq!(
        text,
        "invalid network config:\n\
         invalid subnet 10.1.0.1/24: it should be 10.1.0.0/24\n\
         invalid ip-range 10.2.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.1/24\n\
         invalid ip-range 10.2.0.0/16: parent subnet 10.1.0.1/24 doesn't contain ip-range\n\
         invalid gateway fd00::1: parent subnet is an IPv4 block\n\
         invalid auxiliary address a: parent subnet 10.1.0.1/24 doesn't contain this address"
    );
}

#[test]
fn an_auxiliary_address_of_that_name_is_the_way_out() {
    let mut asked = spec(&["10.1.0.0/16"]);
    asked.pools[0].auxiliary.insert("DefaultGatewayIPv4".into(), ip("10.1.0.2"));
    let leased = Leases::new(&decided(asked)).reserve(false, None).unwrap();
    assert_eq!((leased.address, leased.gateway), (ip("10.1.0.3"), Some(ip("10.1.0.2"))));
}
