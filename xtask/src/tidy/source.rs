//! The rules that one source file can break by itself.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Block, ImplItemFn, Item, ItemFn, ItemMod, Signature, TraitItemFn};

use super::Finding;

/// Lines of a file without its tests.
const FILE: usize = 500;
/// Lines of a file with its tests, or of tests alone.
const FILE_WITH_TESTS: usize = 800;
const FUNCTION: usize = 70;
const COLUMNS: usize = 100;

/// Macros that stand for code which is not there yet, or no longer should be.
const LEFTOVER_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Comments that promise work. In two parts, so that they are not found here.
const LEFTOVER_WORDS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// What is wrong with the text of `file`.
pub(crate) fn check(file: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    text_rules(text, &mut found);
    match parse(text) {
        Ok((tokens, tree)) => {
            size_rules(file, text, &tree, &mut found);
            leftovers(tokens, &mut found);
            let mut functions = Functions { found: &mut found };
            functions.visit_file(&tree);
        }
        Err(error) => found.push((error.span().start().line, format!("does not parse: {error}"))),
    }
    found.sort();
    found.into_iter().map(|(line, what)| Finding { file: file.into(), line, what }).collect()
}

fn parse(text: &str) -> syn::Result<(TokenStream, syn::File)> {
    let tokens: TokenStream = text.parse()?;
    Ok((tokens.clone(), syn::parse2(tokens)?))
}

fn text_rules(text: &str, found: &mut Vec<(usize, String)>) {
    if !text.starts_with("//!") {
        found.push((1, "begin with a `//!` line that says what the file is".into()));
    }
    for (number, line) in (1..).zip(text.lines()) {
        let columns = line.chars().count();
        if columns > COLUMNS {
            found.push((number, format!("{columns} columns, more than {COLUMNS}")));
        }
        if let Some(word) = LEFTOVER_WORDS.iter().find(|word| line.contains(**word)) {
            found.push((number, format!("{word}: do it, or write down elsewhere what is missing")));
        }
    }
}

fn size_rules(file: &str, text: &str, tree: &syn::File, found: &mut Vec<(usize, String)>) {
    let all = text.lines().count();
    if all > FILE_WITH_TESTS {
        found.push((1, format!("{all} lines with tests, more than {FILE_WITH_TESTS}")));
    }
    let tests: usize = tree.items.iter().filter_map(test_module).map(Iterator::count).sum();
    if all - tests > FILE && !is_all_tests(file) {
        found.push((1, format!("{} lines without tests, more than {FILE}", all - tests)));
    }
}

fn is_all_tests(file: &str) -> bool {
    file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("/tests.rs")
}

/// The lines of `item` if it is a `#[cfg(test)] mod tests { .. }`.
fn test_module(item: &Item) -> Option<RangeInclusive<usize>> {
    let Item::Mod(ItemMod { attrs, content: Some((braces, _)), .. }) = item else { return None };
    let cfg = attrs.iter().find(|attribute| is_cfg_test(attribute))?;
    Some(cfg.pound_token.span.start().line..=braces.span.close().end().line)
}

fn is_cfg_test(attribute: &Attribute) -> bool {
    let list = attribute.meta.require_list();
    list.is_ok_and(|list| list.path.is_ident("cfg") && list.tokens.to_string() == "test")
}

/// Looks at tokens, because the arguments of a macro are nothing else to a parser.
fn leftovers(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    let trees: Vec<TokenTree> = tokens.into_iter().collect();
    for (place, tree) in trees.iter().enumerate() {
        let next = &trees[place + 1..];
        let line = tree.span().start().line;
        match tree {
            TokenTree::Ident(name) => {
                let is_call = matches!(next, [TokenTree::Punct(mark), TokenTree::Group(_), ..]
                    if mark.as_char() == '!');
                if let Some(left) = LEFTOVER_MACROS.iter().find(|left| is_call && name == *left) {
                    found.push((line, format!("{left}! is for unfinished work")));
                }
            }
            TokenTree::Punct(mark) if mark.as_char() == '#' && allows(next) => {
                found.push((line, "write #[expect(lint, reason = \"...\")], not allow".into()));
            }
            TokenTree::Group(group) => leftovers(group.stream(), found),
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

/// Whether what follows a `#` is `[allow(..)]` or `![allow(..)]`.
fn allows(next: &[TokenTree]) -> bool {
    let ([TokenTree::Group(attribute), ..]
    | [TokenTree::Punct(_), TokenTree::Group(attribute), ..]) = next
    else {
        return false;
    };
    let first = attribute.stream().into_iter().next();
    attribute.delimiter() == Delimiter::Bracket
        && matches!(first, Some(TokenTree::Ident(name)) if name == "allow")
}

/// Finds the functions that are too long, in modules, implementations and traits.
struct Functions<'found> {
    found: &'found mut Vec<(usize, String)>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.fn_token.span.start().line;
        let lines = body.brace_token.span.close().end().line - first + 1;
        if lines > FUNCTION {
            let name = &signature.ident;
            self.found.push((first, format!("{name} has {lines} lines, more than {FUNCTION}")));
        }
    }
}

impl<'tree> Visit<'tree> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'tree ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'tree ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'tree TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a file that starts as it should and goes on with `text`.
    fn found_in(file: &str, text: &str) -> Vec<String> {
        check(file, &format!("//! A file.\n{text}")).iter().map(ToString::to_string).collect()
    }

    fn found(text: &str) -> Vec<String> {
        found_in("a.rs", text)
    }

    #[test]
    fn a_file_in_order_has_no_findings() {
        assert_eq!(found("fn f() -> u8 {\n    7\n}\n"), [""; 0]);
    }

    #[test]
    fn a_file_begins_by_saying_what_it_is() {
        let findings = check("a.rs", "// A comment.\nfn f() {}\n");
        assert_eq!(
            findings[0].to_string(),
            "a.rs:1: begin with a `//!` line that says what the file is"
        );
    }

    #[test]
    fn lines_are_counted_in_characters() {
        assert_eq!(found(&format!("// {}\n", "é".repeat(97))), [""; 0]);
        assert_eq!(
            found(&format!("// {}\n", "é".repeat(98))),
            ["a.rs:2: 101 columns, more than 100"]
        );
    }

    #[test]
    fn a_file_may_have_500_lines_beside_its_tests() {
        let code = "// code\n".repeat(499);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// test\n".repeat(200));
        assert_eq!(found(&format!("{code}{tests}")), [""; 0]);
        let long = found(&format!("{code}// one more\n{tests}"));
        assert_eq!(long, ["a.rs:1: 501 lines without tests, more than 500"]);
    }

    #[test]
    fn a_file_of_tests_may_have_800_lines() {
        let tests = "// test\n".repeat(799);
        assert_eq!(found_in("crates/paxos/tests/schedule.rs", &tests), [""; 0]);
        assert_eq!(found_in("crates/paxos/src/node/tests.rs", &tests), [""; 0]);
        let long = found_in("tests/a.rs", &format!("{tests}// one more\n"));
        assert_eq!(long, ["tests/a.rs:1: 801 lines with tests, more than 800"]);
    }

    #[test]
    fn a_function_may_have_70_lines_wherever_it_stands() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "    f();\n".repeat(lines - 2));
        assert_eq!(found(&function(70)), [""; 0]);
        assert_eq!(found(&function(71)), ["a.rs:2: f has 71 lines, more than 70"]);
        for place in ["impl A", "trait A", "mod a"] {
            let inside = found(&format!("{place} {{\n{}}}\n", function(71)));
            assert_eq!(inside, ["a.rs:3: f has 71 lines, more than 70"], "in {place}");
        }
    }

    #[test]
    fn the_documentation_of_a_function_does_not_lengthen_it() {
        let text = format!("{}fn f() {{}}\n", "/// A reason.\n".repeat(80));
        assert_eq!(found(&text), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_found_in_macros_too() {
        let text = "fn f() {\n    todo!();\n    assert!(dbg!(1) > unimplemented![]);\n}\n";
        let kinds = ["3: todo!", "4: dbg!", "4: unimplemented!"];
        assert_eq!(found(text), kinds.map(|kind| format!("a.rs:{kind} is for unfinished work")));
    }

    #[test]
    fn unfinished_work_is_not_found_in_strings_and_names() {
        let text =
            "fn f(todo: u8) -> bool {\n    // todo!()\n    todo != 1 && \"dbg!()\" != \"\"\n}\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn promises_of_work_are_found_in_comments() {
        for word in LEFTOVER_WORDS {
            assert_eq!(found(&format!("// {word} later\n")).len(), 1);
        }
    }

    #[test]
    fn lints_are_expected_not_allowed() {
        let outer = found("#[allow(dead_code)]\nfn f() {}\n");
        assert_eq!(outer, ["a.rs:2: write #[expect(lint, reason = \"...\")], not allow"]);
        assert_eq!(found("#![allow(dead_code)]\n").len(), 1);
        assert_eq!(found("#[expect(dead_code, reason = \"soon\")]\nfn f() {}\n"), [""; 0]);
        assert_eq!(found("// #[allow(dead_code)]\n"), [""; 0]);
    }

    #[test]
    fn a_file_that_does_not_parse_is_named() {
        assert!(found("fn f( {}\n")[0].contains("does not parse"));
    }
}
