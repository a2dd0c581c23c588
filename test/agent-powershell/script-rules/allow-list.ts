import names from "./reference-names.json" with { type: "json" };
import type { ReferenceNames } from "./reference-names.ts";

/** Names from the reference, each with its section. Written by write-reference-names.ts. */
export const REFERENCE_NAMES: ReferenceNames = names;

/**
 * WMI names that the reference only mentions or leaves out, each with the page it was read on. Short on purpose: a name here
 * has one source less than the others, and docs/verification.md lists them.
 */
export const DOCUMENTED_ELSEWHERE = {
  classes: {
    Win32_Volume: "win32 CIMWin32Prov, Win32_Volume class",
  },
  members: {
    Name: "win32 CIMWin32Prov, Win32_Volume.Name (also Msvm_ComputerSystem.Name, reference 1.1)",
    DeviceID: "win32 CIMWin32Prov, Win32_Volume.DeviceID",
    FreeSpace: "win32 CIMWin32Prov, Win32_Volume.FreeSpace",
    Capacity: "win32 CIMWin32Prov, Win32_Volume.Capacity",
    FileSystem: "win32 CIMWin32Prov, Win32_Volume.FileSystem",
    CreationTime: "win32 HyperV_v2, msvm-virtualsystemsettingdata.md",
    ParentPath: "win32 HyperV_v2, msvm-virtualharddisksettingdata.md",
    VirtualDiskId: "win32 HyperV_v2, msvm-virtualharddisksettingdata.md",
    SettingData: "win32 HyperV_v2, getvirtualharddisksettingdata-msvm-imagemanagementservice.md",
    Value: "psdocs FailoverClusters, Get-ClusterParameter",
  },
  methods: {
    GetVirtualHardDiskSettingData: {
      source: "win32 HyperV_v2, getvirtualharddisksettingdata-msvm-imagemanagementservice.md",
      parameters: ["Path", "SettingData", "Job"],
    },
    RequestStateChange: {
      source: "win32 HyperV_v2, requeststatechange-msvm-concretejob.md; the value 5 as os-win passes it",
      parameters: ["RequestedState", "TimeoutPeriod"],
    },
    DestroyReferencePoint: {
      source: "reference 1.5 in prose, for Msvm_CollectionReferencePointService",
      parameters: ["AffectedReferencePointCollection", "Job"],
    },
    ModifyResourceSettings: {
      source: "win32 HyperV_v2, modifyresourcesettings-msvm-virtualsystemmanagementservice.md",
      parameters: ["ResourceSettings", "ResultingResourceSettings", "Job"],
    },
    ValidatePlannedSystem: {
      source: "win32 HyperV_v2, validateplannedsystem-msvm-virtualsystemmanagementservice.md",
      parameters: ["PlannedSystem", "Job"],
    },
    RealizePlannedSystem: {
      source: "win32 HyperV_v2, realizeplannedsystem-msvm-virtualsystemmanagementservice.md",
      parameters: ["PlannedSystem", "ResultingSystem", "Job"],
    },
    DestroySystem: {
      source: "win32 HyperV_v2, destroysystem-msvm-virtualsystemmanagementservice.md",
      parameters: ["AffectedSystem", "Job"],
    },
  },
} as const;

/** Cmdlets and the parameters that the scripts may give them. All exist in Windows PowerShell 5.1 and in PowerShell 7. */
export const CMDLETS: Readonly<Record<string, readonly string[]>> = {
  "ConvertFrom-Json": ["InputObject"],
  "ConvertTo-Json": ["InputObject", "Depth", "Compress"],
  "Export-ModuleMember": ["Function"],
  "ForEach-Object": ["Process"],
  "Get-Acl": ["LiteralPath"],
  "Get-CimAssociatedInstance": ["InputObject", "Association", "ResultClassName"],
  "Get-CimClass": ["Namespace", "ClassName"],
  "Get-CimInstance": ["Namespace", "ClassName", "Filter", "InputObject"],
  "Get-ClusterParameter": ["Name", "ErrorAction"],
  "Get-ClusterResource": ["Name", "ErrorAction"],
  "Get-Command": ["Name", "ErrorAction"],
  "Import-Module": ["Name"],
  "Invoke-CimMethod": ["InputObject", "Namespace", "ClassName", "MethodName", "Arguments"],
  "New-CimInstance": ["CimClass", "ClientOnly", "Property"],
  "New-Object": ["TypeName", "ArgumentList"],
  "Remove-CimInstance": ["InputObject"],
  "Select-Object": ["First"],
  "Set-StrictMode": ["Version"],
  "Sort-Object": ["Property", "Descending", "Unique"],
  "Start-Process": ["FilePath", "ArgumentList", "RedirectStandardOutput", "WindowStyle", "PassThru"],
  "Start-Sleep": ["Milliseconds"],
  "Where-Object": ["FilterScript"],
};

/** .NET types by which a script may cast or call statics. No compiler, no reflection, no process but Start-Process. */
export const TYPES: ReadonlySet<string> = new Set([
  ..."bool byte char ciminstance CmdletBinding datetime guid hashtable int long object ordered pscustomobject regex".split(
    " ",
  ),
  ..."scriptblock string switch uint16 uint32 uint64 void Console Math Parameter OutputType ValidatePattern".split(
    " ",
  ),
  ..."ValidateSet AllowNull AllowEmptyString AllowEmptyCollection".split(" "),
  "Microsoft.Management.Infrastructure.CimFlags",
  "Microsoft.Management.Infrastructure.Serialization.CimSerializer",
  "Microsoft.Management.Infrastructure.Serialization.InstanceSerializationOptions",
  "System.Array",
  "System.BitConverter",
  "System.Collections.Specialized.OrderedDictionary",
  "System.Convert",
  "System.DateTimeOffset",
  "System.Diagnostics.Stopwatch",
  "System.Environment",
  "System.IO.Directory",
  "System.IO.File",
  "System.IO.Path",
  "System.Management.Automation.ErrorRecord",
  "System.Security.AccessControl.FileSystemRights",
  "System.Security.Cryptography.SHA256",
  "System.Security.Principal.SecurityIdentifier",
  "System.StringComparer",
  "System.StringComparison",
  "System.Text.Encoding",
  "System.Text.RegularExpressions.Match",
]);

/** Members of .NET objects and of PowerShell's own that the scripts use; WMI members come from the lists above. */
export const DOTNET_MEMBERS: ReadonlySet<string> = new Set(
  (
    "Add AddRange AccessControlType ASCII Category CategoryInfo CimClass CimClassProperties CimInstanceProperties " +
    "CimSystemProperties ClassName Combine ComputeHash Contains ContainsKey Copy Count Create CreateDirectory CreateFiles Data Delete " +
    "ElapsedMilliseconds EndsWith Error Exception Exists ExitCode FileSystemRights Flags Floor FromBase64String " +
    "FullyQualifiedErrorId GetAccessRules GetAttribute GetBytes GetDirectoryName GetFileName GetFiles GetString Handle " +
    "IdentityReference IndexOf InnerText Key Keys Kill Length LoadXml MachineName Max Message Min Move Name Namespace None " +
    "Ordinal OrdinalIgnoreCase Out OutputEncoding Properties PSEdition PSObject PSVersion ReadAllText Replace ReturnValue " +
    "Reverse ScriptStackTrace SelectNodes SelectSingleNode Serialize ServerName Split StartNew StartsWith Substring " +
    "SystemDirectory ToArray ToByteArray ToLowerInvariant ToString ToUInt32 ToUniversalTime ToUnixTimeMilliseconds " +
    "ToUpperInvariant Trim TrimEnd Unicode UtcNow UTF8 Value Values WaitForExit WriteAllText WriteLine XmlResolver ChangeExtension"
  ).split(" "),
);

/** Types that New-Object may make. */
export const NEW_OBJECTS: ReadonlySet<string> = new Set([
  "System.Collections.ArrayList",
  "System.Collections.Generic.HashSet[string]",
  "System.InvalidOperationException",
  "System.IO.FileInfo",
  "System.Text.UTF8Encoding",
  "System.Xml.XmlDocument",
]);
