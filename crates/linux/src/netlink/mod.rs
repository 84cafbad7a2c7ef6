//! Netlink: how the kernel is asked for links, addresses and routes, without `ip`.
//!
//! One attribute writer and reader serves rtnetlink, nftables and connection tracking, so no netlink crate is needed.
//! Never: policy (which name, which address); that is `network`'s.

mod address;
mod conntrack;
mod link;
mod message;
mod neighbour;
mod route;
mod rule;
mod socket;
mod vxlan;
mod within;

pub use address::{Address, add_address, addresses, remove_address};
pub use conntrack::{Flow, forget_flows};
pub use link::{
    Bridge, BridgePort, Link, LinkChange, Macvlan, MacvlanMode, Veth, create_bridge, create_macvlan,
    create_veth, link_by_name, link_index, links, remove_link, set_address, set_bridge_port, set_link,
};
pub(crate) use message::{ACK, APPEND, CREATE, ECHO, u16_at};
pub use message::{Attributes, Message, Received};
pub use neighbour::{Neighbour, add_neighbour, neighbours, remove_neighbour};
pub use route::{Route, add_route, add_route_in, add_unreachable, remove_route, routes};
pub use rule::{Rule, Selector, add_rule, remove_rule};
pub use socket::{Family, Refused, Reply, Socket};
pub use vxlan::{Vxlan, VxlanInfo, create_vxlan, join_static, vxlans};
pub use within::{new_namespace, own_namespace, within};
