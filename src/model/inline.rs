//! Replaces calls of operators that the file itself defines by their bodies.

use super::proto::{FunctionProto, NodeProto};
use std::collections::BTreeMap;

/// Functions nested deeper than this are left as they are; ONNX forbids
/// recursion, a damaged file may have it.
const DEPTH: usize = 8;

/// Nodes beyond this are not unfolded further, so that a small hostile file
/// cannot ask for all memory.
const MOST_NODES: usize = 2_000_000;

type Functions = BTreeMap<(String, String), FunctionProto>;

/// The nodes with every call of a function in `functions` replaced by its body.
pub(super) fn inline(nodes: Vec<NodeProto>, functions: &Functions) -> Vec<NodeProto> {
    let mut nodes = nodes;
    for depth in 0..DEPTH {
        if functions.is_empty() || nodes.len() > MOST_NODES {
            break;
        }
        let mut changed = false;
        let mut out = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.into_iter().enumerate() {
            let key = (node.domain_name().to_owned(), node.op().to_owned());
            match functions.get(&key) {
                Some(function) => {
                    changed = true;
                    unfold(&node, function, &format!("{depth}.{index}"), &mut out);
                }
                None => out.push(node),
            }
        }
        nodes = out;
        if !changed {
            break;
        }
    }
    nodes
}

/// Appends the body of `function` as called by `call`; names inside it get `tag`.
fn unfold(call: &NodeProto, function: &FunctionProto, tag: &str, out: &mut Vec<NodeProto>) {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    for (formal, actual) in [
        (&function.input, &call.input),
        (&function.output, &call.output),
    ] {
        for (i, name) in formal.iter().enumerate() {
            names.insert(name, actual.get(i).cloned().unwrap_or_default());
        }
    }
    let rename = |name: &String| {
        if name.is_empty() {
            return String::new();
        }
        names
            .get(name.as_str())
            .cloned()
            .unwrap_or_else(|| format!("{tag}/{name}"))
    };
    for body in &function.node {
        let mut node = body.clone();
        node.input = body.input.iter().map(rename).collect();
        node.output = body.output.iter().map(rename).collect();
        node.attribute = body
            .attribute
            .iter()
            .filter_map(|attribute| {
                let Some(from) = attribute.ref_attr_name.as_deref().filter(|r| !r.is_empty())
                else {
                    return Some(attribute.clone());
                };
                let given = call.attr(from).or_else(|| {
                    function
                        .attribute_proto
                        .iter()
                        .find(|a| a.name.as_deref() == Some(from))
                })?;
                let mut given = given.clone();
                given.name.clone_from(&attribute.name);
                Some(given)
            })
            .collect();
        out.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::proto::AttributeProto;

    fn node(op: &str, input: &[&str], output: &[&str]) -> NodeProto {
        NodeProto {
            op_type: Some(op.to_owned()),
            input: input.iter().map(|s| (*s).to_owned()).collect(),
            output: output.iter().map(|s| (*s).to_owned()).collect(),
            ..NodeProto::default()
        }
    }

    #[test]
    fn a_call_becomes_the_functions_body_with_its_own_names_and_settings() {
        let mut elu = node("Elu", &["x"], &["t"]);
        elu.attribute.push(AttributeProto {
            name: Some("alpha".to_owned()),
            ref_attr_name: Some("a".to_owned()),
            ..AttributeProto::default()
        });
        let function = FunctionProto {
            name: Some("Twice".to_owned()),
            domain: Some("mine".to_owned()),
            input: vec!["x".to_owned()],
            output: vec!["y".to_owned()],
            node: vec![elu, node("Add", &["t", "t"], &["y"])],
            ..FunctionProto::default()
        };
        let functions = [(("mine".to_owned(), "Twice".to_owned()), function)].into();
        let mut call = node("Twice", &["in"], &["out"]);
        call.domain = Some("mine".to_owned());
        call.attribute.push(AttributeProto {
            name: Some("a".to_owned()),
            f: Some(0.5),
            ..AttributeProto::default()
        });
        let nodes = inline(vec![call], &functions);
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[0].input, ["in"]);
        assert_eq!(nodes[0].output, nodes[1].input[..1]);
        assert_ne!(nodes[0].output, ["t"]);
        assert_eq!(nodes[1].output, ["out"]);
        assert_eq!(nodes[0].attr("alpha").unwrap().f, Some(0.5));
    }

    #[test]
    fn a_function_that_calls_itself_ends() {
        let mut call = node("Loop", &["x"], &["y"]);
        call.domain = Some("mine".to_owned());
        let function = FunctionProto {
            node: vec![call.clone(), call.clone()],
            ..FunctionProto::default()
        };
        let functions = [(("mine".to_owned(), "Loop".to_owned()), function)].into();
        assert!(inline(vec![call], &functions).len() <= 256);
    }
}
