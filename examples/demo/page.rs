//! How its pages look.

use axum::response::Html;

pub(crate) const BACK: &str = "<p><a href=/>Back</a></p>";

pub(crate) fn page(title: &str, content: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style>\
         <main><h1>{title}</h1>{content}</main></html>"
    ))
}

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1b1f;--soft:#66666e;--ground:#f4f4f7;--card:#fff;--line:#e3e3e8;--accent:#3455db;--good:#1a7f42;--bad:#b3441e}\
@media(prefers-color-scheme:dark){:root{--ink:#ececf1;--soft:#a0a0aa;--ground:#131316;--card:#1d1d22;--line:#33333a;\
--accent:#8aa2ff;--good:#63cc8a;--bad:#f0966f}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;\
font:1rem/1.55 system-ui,sans-serif;color:var(--ink);background:var(--ground)}\
main{width:100%;max-width:36rem;padding:2rem 2.25rem;background:var(--card);border:1px solid var(--line);\
border-radius:1rem;box-shadow:0 1px 2px #0001,0 8px 32px #0000000d}\
h1{margin:0 0 1rem;font-size:1rem;font-weight:600;letter-spacing:.02em;color:var(--soft)}\
.lead{font-size:1.4rem;margin:.25rem 0 1.25rem;overflow-wrap:anywhere}\
header{display:flex;flex-wrap:wrap;align-items:center;justify-content:space-between;gap:.5rem 1rem;margin-bottom:1.25rem}\
header .lead{margin:0}.note{color:var(--soft);margin-bottom:0}a{color:var(--accent)}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.4rem 1.25rem;margin:0 0 1.5rem;padding:1rem 0;\
border-block:1px solid var(--line)}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
code{font-size:.85rem}nav{display:flex;flex-wrap:wrap;align-items:center;gap:.5rem;color:var(--soft)}nav a{padding:.25rem .7rem;border:1px solid var(--line);\
border-radius:2rem;text-decoration:none;font-family:ui-monospace,monospace;font-size:.9rem}\
.button{display:inline-block;padding:.6rem 1.4rem;border-radius:.6rem;background:var(--accent);color:var(--card);\
font-weight:600;text-decoration:none}.badge{padding:.1rem .6rem;border-radius:1rem;background:var(--accent);\
color:var(--card);font-size:.8rem;vertical-align:middle}\
h2{margin:1.75rem 0 .25rem;font-size:1rem;font-weight:600;color:var(--soft)}ul{margin:0;padding:0;list-style:none}\
li{display:flex;flex-wrap:wrap;align-items:center;gap:.25rem .6rem;padding:.7rem 0;border-top:1px solid var(--line)}\
li:last-child{padding-bottom:0}li p{flex-basis:100%;margin:0;color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}li strong{margin-right:auto}\
li a{font-size:.9rem}.state{padding:.05rem .6rem;border:1px solid;border-radius:1rem;color:var(--soft);font-size:.8rem}\
.state.good{color:var(--good)}.state.bad{color:var(--bad)}";

/// For text and for attributes in double quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
