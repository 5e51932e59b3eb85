// Package providers is the contract between tasks and the systems in which
// resources become real. One folder beneath is one system; they know the nouns
// of engine and this contract, not each other, no plan and no state.
//
// Rules for a provider:
//
//   - Outside names derive from flow, address and generation, and what is made
//     carries them and the operation as labels where the system has room. So
//     what a crash left behind can be found again.
//   - Apply is get-or-create, Delete succeeds for what is gone: every call may
//     be repeated.
//   - An error says what was tried, on what, and what to do. Passing wraps those
//     that may go away by themselves; only they are tried again, and only by the
//     executor.
//   - Apply returns what exists even when it fails.
//
// Native makes a Provider of typed functions; providertest holds the suite that
// every provider passes; Faulty and Limit decorate one. Start with Provider.
package providers
