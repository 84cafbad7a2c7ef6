//! Chains and rules, as a plain function. Pure.
//!
//! They never change while a table lives; what changes are the sets and maps of `plan.rs`. What a packet meets:
//!
//! - `guard` (prerouting, raw): packets to 127.0.0.0/8 that did not come from `lo` are dropped, since `route_localnet` is
//!   on for our bridges and ports may be published on loopback only (CVE-2020-8558).
//! - `arriving` (prerouting, dstnat) and `leaving` (output, dstnat): packets to one of the host's own addresses are
//!   looked up in `ports4`/`ports6` (bound to one address), then `any4`/`any6`, and sent to the container.
//! - `passing` (forward): who may reach whom; see [`forward`].
//! - `masking` (postrouting, srcnat): outgoing packets get the host's address; so do those from loopback, and those that
//!   a container sends to a published port of its own network, so that the answer comes back through the host.

use super::plan::SetName;
use minke_linux::nftables::{
    Chain, Comparison, CtKey, Element, Expression, FibResult, Hook, MetaKey, NatKind, PayloadBase, Priority,
    Register, Rule, Verdict,
};

/// Marks packets that the host's own forward chains shall let pass. One bit, set in the forward hook only, after routing:
/// no policy routing sees it.
pub const MARK: u32 = 0x1000;

/// Before the host's own filters, which look for the mark.
const BEFORE_FILTER: Priority = Priority(-10);

/// The chains, in the order in which they are made.
pub fn chains() -> Vec<Chain> {
    vec![
        Chain::base("guard", "filter", Hook::Prerouting, Priority::RAW),
        Chain::base("arriving", "nat", Hook::Prerouting, Priority::DSTNAT),
        Chain::base("leaving", "nat", Hook::Output, Priority::DSTNAT),
        Chain::plain("publish"),
        Chain::base("passing", "filter", Hook::Forward, BEFORE_FILTER),
        Chain::plain("forward"),
        Chain::plain("allow"),
        Chain::base("masking", "nat", Hook::Postrouting, Priority::SRCNAT),
    ]
}

/// The rules, in order. `open`: traffic to published ports is marked too, so that the host's forward rules let it pass.
pub fn rules(open: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |chain: &str, comment: &'static str, steps: Vec<Vec<Expression>>| {
        rules.push(Rule { chain: chain.to_owned(), steps: steps.concat(), comment });
    };

    add(
        "guard",
        "loopback is reached from this host only",
        vec![family(false), destination_is(&[127]), in_is_not("lo"), verdict(Verdict::Drop)],
    );

    add(
        "arriving",
        "internal networks have no way out",
        vec![in_in(SetName::Internal), verdict(Verdict::Return)],
    );
    add(
        "arriving",
        "a copier serves those that are kept apart",
        vec![in_in(SetName::Apart), verdict(Verdict::Return)],
    );
    add("arriving", "", vec![to_this_host(), jump("publish")]);
    add(
        "leaving",
        "::1 cannot leave the host: a copier serves it",
        vec![family(true), destination_is(&std::net::Ipv6Addr::LOCALHOST.octets()), verdict(Verdict::Return)],
    );
    add("leaving", "", vec![to_this_host(), jump("publish")]);

    for (ipv6, ports, any) in
        [(false, SetName::Ports4, SetName::Any4), (true, SetName::Ports6, SetName::Any6)]
    {
        let width = if ipv6 { 4 } else { 1 };
        let translate = |map: SetName| {
            let (address, port) = (Register(8), Register(8 + width));
            let map = Expression::Map(map.as_str().to_owned(), Register(0), address);
            vec![map, Expression::Nat(NatKind::Destination, ipv6, address, Some(port))]
        };
        add("publish", "", vec![family(ipv6), load_destination(ipv6), load_port(width), translate(ports)]);
        add("publish", "", vec![family(ipv6), load_port(0), translate(any)]);
    }

    add("passing", "", vec![in_in(SetName::Bridges), goto("forward")]);
    add("passing", "", vec![out_in(SetName::Bridges), goto("forward")]);
    rules.extend(forward(open));

    let mut add = |comment: &'static str, steps: Vec<Vec<Expression>>| {
        rules.push(Rule { chain: "masking".to_owned(), steps: steps.concat(), comment });
    };
    for (ipv6, own) in [(false, SetName::Own4), (true, SetName::Own6)] {
        let width = if ipv6 { 4 } else { 1 };
        // The bridge it came by is not asked for: a bridged packet has none here.
        let within_own = vec![
            Expression::Meta(MetaKey::OutName, Register(width)),
            Expression::In(own.as_str().to_owned(), Register(0)),
        ];
        add(
            "a published port of the own network",
            vec![translated(), family(ipv6), load_source(ipv6), within_own.clone(), masquerade()],
        );
        add("", vec![family(ipv6), load_source(ipv6), within_own, verdict(Verdict::Return)]);
    }
    add("from loopback", vec![out_in(SetName::Bridges), family(false), source_is(&[127]), masquerade()]);
    for (ipv6, fixed, mask) in
        [(false, SetName::Source4, SetName::Mask4), (true, SetName::Source6, SetName::Mask6)]
    {
        let source = Register(8);
        let to_source = vec![
            Expression::Map(fixed.as_str().to_owned(), Register(0), source),
            Expression::Nat(NatKind::Source, ipv6, source, None),
        ];
        add("", vec![family(ipv6), load_source(ipv6), to_source]);
        add(
            "",
            vec![
                family(ipv6),
                load_source(ipv6),
                vec![Expression::In(mask.as_str().to_owned(), Register(0))],
                masquerade(),
            ],
        );
    }
    rules
}

/// Who may reach whom: every packet that comes from or goes to one of our bridges ends here.
///
/// Answers pass. Within a network all passes, unless it is kept apart. Into and out of internal networks nothing passes.
/// Published ports are reached from everywhere; otherwise networks do not reach each other, containers reach the outside,
/// and the outside reaches nothing.
fn forward(open: bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut add = |comment: &'static str, steps: Vec<Vec<Expression>>| {
        rules.push(Rule { chain: "forward".to_owned(), steps: steps.concat(), comment });
    };
    // Without the mark, the host's own forward rules decide.
    let published = || if open { goto("allow") } else { verdict(Verdict::Accept) };

    add("answers", vec![answering(), goto("allow")]);
    add("a published port of the own network", vec![same(), translated(), goto("allow")]);
    add(
        "linked",
        vec![
            same(),
            family(false),
            load_pair(),
            load_port(2),
            vec![Expression::In(SetName::Linked.as_str().to_owned(), Register(0))],
            goto("allow"),
        ],
    );
    add("kept apart", vec![same(), in_in(SetName::Apart), verdict(Verdict::Drop)]);
    add("within a network", vec![same(), goto("allow")]);
    add("internal", vec![in_in(SetName::Internal), verdict(Verdict::Drop)]);
    add("internal", vec![out_in(SetName::Internal), verdict(Verdict::Drop)]);
    add(
        "published ports, from containers",
        vec![translated(), out_in(SetName::Bridges), in_in(SetName::Bridges), goto("allow")],
    );
    add("published ports", vec![translated(), out_in(SetName::Bridges), published()]);
    add(
        "networks are isolated",
        vec![in_in(SetName::Bridges), out_in(SetName::Bridges), verdict(Verdict::Drop)],
    );
    add("outgoing", vec![in_in(SetName::Bridges), goto("allow")]);
    for (ipv6, openings, direct, unprotected) in [
        (false, SetName::Open4, SetName::Direct4, SetName::Unprotected4),
        (true, SetName::Open6, SetName::Direct6, SetName::Unprotected6),
    ] {
        let width = if ipv6 { 4 } else { 1 };
        add(
            "routed ports",
            vec![
                family(ipv6),
                load_destination(ipv6),
                load_port(width),
                vec![Expression::In(openings.as_str().to_owned(), Register(0))],
                published(),
            ],
        );
        add(
            "published ports, from trusted interfaces",
            vec![
                family(ipv6),
                in_and_out_in(SetName::Trusted),
                load_destination(ipv6),
                load_port(width),
                vec![Expression::In(direct.as_str().to_owned(), Register(0))],
                published(),
            ],
        );
        add("unprotected", vec![family(ipv6), out_in(unprotected), published()]);
    }
    add("all else from outside", vec![verdict(Verdict::Drop)]);

    let not_mark = (!MARK).to_ne_bytes().to_vec();
    rules.push(Rule {
        chain: "allow".to_owned(),
        comment: "for the host's own forward chains",
        steps: [
            vec![
                Expression::Meta(MetaKey::Mark, Register(0)),
                Expression::Bitwise(Register(0), not_mark, MARK.to_ne_bytes().to_vec()),
                Expression::MetaSet(MetaKey::Mark, Register(0)),
            ],
            verdict(Verdict::Accept),
        ]
        .concat(),
    });
    rules
}

fn verdict(verdict: Verdict) -> Vec<Expression> {
    vec![Expression::Verdict(verdict)]
}

fn jump(chain: &str) -> Vec<Expression> {
    verdict(Verdict::Jump(chain.to_owned()))
}

fn goto(chain: &str) -> Vec<Expression> {
    verdict(Verdict::Goto(chain.to_owned()))
}

/// Only IPv6, or only IPv4.
fn family(ipv6: bool) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::NfProtocol, Register(0)),
        Expression::Compare(Register(0), Comparison::Equal, vec![if ipv6 { 10 } else { 2 }]),
    ]
}

/// Only what came by an interface of a set.
fn in_in(set: SetName) -> Vec<Expression> {
    vec![Expression::Meta(MetaKey::InName, Register(0)), Expression::In(set.as_str().to_owned(), Register(0))]
}

/// Only what leaves by an interface of a set.
fn out_in(set: SetName) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::OutName, Register(0)),
        Expression::In(set.as_str().to_owned(), Register(0)),
    ]
}

/// Only what came by another interface.
fn in_is_not(name: &str) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::InName, Register(0)),
        Expression::Compare(Register(0), Comparison::NotEqual, Element::interface(name).to_vec()),
    ]
}

/// Only what leaves by the bridge that it came by.
fn same() -> Vec<Expression> {
    in_and_out_in(SetName::Same)
}

/// Only what came by the one and leaves by the other interface of a pair of a set.
fn in_and_out_in(set: SetName) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::InName, Register(0)),
        Expression::Meta(MetaKey::OutName, Register(4)),
        Expression::In(set.as_str().to_owned(), Register(0)),
    ]
}

/// Only what is sent to an address of this host (`RTN_LOCAL`).
fn to_this_host() -> Vec<Expression> {
    vec![
        Expression::FibDestination(FibResult::AddressType, Register(0)),
        Expression::Compare(Register(0), Comparison::Equal, 2u32.to_ne_bytes().to_vec()),
    ]
}

/// Only flows whose receiver was translated (`IPS_DST_NAT`).
fn translated() -> Vec<Expression> {
    flow_has(CtKey::Status, 0x20)
}

/// Only flows that are established or belong to one.
fn answering() -> Vec<Expression> {
    flow_has(CtKey::State, 2 | 4)
}

fn flow_has(key: CtKey, bits: u32) -> Vec<Expression> {
    vec![
        Expression::Ct(key, Register(0), false),
        Expression::Bitwise(Register(0), bits.to_ne_bytes().to_vec(), vec![0; 4]),
        Expression::Compare(Register(0), Comparison::NotEqual, vec![0; 4]),
    ]
}

/// Where the sender stands in an IP header: offset and length.
fn source(ipv6: bool) -> (u32, u32) {
    if ipv6 { (8, 16) } else { (12, 4) }
}

/// Where the receiver stands in an IP header: offset and length.
fn destination(ipv6: bool) -> (u32, u32) {
    if ipv6 { (24, 16) } else { (16, 4) }
}

fn load_source(ipv6: bool) -> Vec<Expression> {
    let (offset, length) = source(ipv6);
    vec![Expression::Payload(PayloadBase::Network, offset, length, Register(0))]
}

fn load_destination(ipv6: bool) -> Vec<Expression> {
    let (offset, length) = destination(ipv6);
    vec![Expression::Payload(PayloadBase::Network, offset, length, Register(0))]
}

/// Loads IPv4 sender and receiver into the first two registers.
fn load_pair() -> Vec<Expression> {
    let ((from, length), (to, _)) = (source(false), destination(false));
    vec![
        Expression::Payload(PayloadBase::Network, from, length, Register(0)),
        Expression::Payload(PayloadBase::Network, to, length, Register(1)),
    ]
}

/// Loads transport and destination port into two registers. All three transports have it in bytes 2 and 3.
fn load_port(from: u8) -> Vec<Expression> {
    vec![
        Expression::Meta(MetaKey::L4Protocol, Register(from)),
        Expression::Payload(PayloadBase::Transport, 2, 2, Register(from + 1)),
    ]
}

/// Only what is sent to an address that begins so.
fn destination_is(start: &[u8]) -> Vec<Expression> {
    let (offset, _) = destination(start.len() == 16);
    address_is(offset, start)
}

/// Only what is sent by an address that begins so.
fn source_is(start: &[u8]) -> Vec<Expression> {
    let (offset, _) = source(start.len() == 16);
    address_is(offset, start)
}

fn address_is(offset: u32, start: &[u8]) -> Vec<Expression> {
    vec![
        Expression::Payload(PayloadBase::Network, offset, start.len() as u32, Register(0)),
        Expression::Compare(Register(0), Comparison::Equal, start.to_vec()),
    ]
}

fn masquerade() -> Vec<Expression> {
    vec![Expression::Masquerade]
}

#[cfg(test)]
mod tests;
