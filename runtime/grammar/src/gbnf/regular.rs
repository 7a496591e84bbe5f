//! Which rules are regular: without recursion and control tokens in anything they refer to. And how deep all of it is.

use super::{Expr, Grammar};

/// What is known of a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Regular {
    /// Is it?
    pub is: bool,
    /// If so: does it match the empty text?
    pub nullable: bool,
    /// If so: how many expressions may be inside one another in it, and in the rules that it refers to.
    pub height: usize,
}

/// Looks at all rules. Takes time in proportion to the grammar, and no stack for chains of rules.
pub fn regular(grammar: &Grammar) -> Vec<Regular> {
    let count = grammar.rules.len();
    let (mut waits, mut users) = (vec![0usize; count], vec![Vec::new(); count]);
    for (rule, body) in grammar.rules.iter().enumerate() {
        body.references(0, &mut |used, _| {
            waits[rule] += 1;
            users[used].push(rule);
        });
    }
    let mut known = vec![Regular::default(); count];
    let mut ready: Vec<usize> = (0..count).filter(|&r| waits[r] == 0 && !grammar.rules[r].has_token()).collect();
    while let Some(rule) = ready.pop() {
        let body = &grammar.rules[rule];
        let mut height = 0;
        body.references(1, &mut |used, depth| height = height.max(depth + known[used].height));
        known[rule] = Regular { is: true, nullable: nullable(body, &known), height };
        for &user in &users[rule] {
            waits[user] -= 1;
            if waits[user] == 0 && !grammar.rules[user].has_token() {
                ready.push(user);
            }
        }
    }
    known
}

/// How many expressions are inside one another where a compiler goes from a rule into each rule that it has not seen yet:
/// those that are not regular, from the root on.
pub fn descent(grammar: &Grammar, known: &[Regular]) -> usize {
    let mut seen = vec![false; grammar.rules.len()];
    let (mut deepest, mut stack) = (0, vec![(grammar.root, 1)]);
    while let Some((rule, depth)) = stack.pop() {
        // On the stack before it was seen from another rule.
        if std::mem::replace(&mut seen[rule], true) {
            continue;
        }
        deepest = deepest.max(depth);
        let from = stack.len();
        grammar.rules[rule].references(depth + 1, &mut |used, depth| {
            if !seen[used] && !known[used].is {
                stack.push((used, depth));
            }
        });
        stack[from..].reverse();
    }
    deepest
}

/// Is an expression regular?
pub fn is_regular(expr: &Expr, known: &[Regular]) -> bool {
    let mut all = !expr.has_token();
    expr.references(0, &mut |rule, _| all &= known[rule].is);
    all
}

/// Does a regular expression match the empty text?
pub fn nullable(expr: &Expr, known: &[Regular]) -> bool {
    match expr {
        Expr::Literal(text) => text.is_empty(),
        Expr::Class { .. } | Expr::Any | Expr::Token(_) => false,
        Expr::Rule(rule) => known[*rule].nullable,
        Expr::Seq(items) => items.iter().all(|i| nullable(i, known)),
        Expr::Alt(items) => items.iter().any(|i| nullable(i, known)),
        Expr::Repeat { item, min, .. } => *min == 0 || nullable(item, known),
    }
}
