<#
.SYNOPSIS
    Copies the configuration files of a checkpoint (.vmcx, .vmrs, .vmgs) into a folder.
.DESCRIPTION
    Input: { settings, vmId, checkpointId, targetDirectory }. Output: { files: [{ name, bytes }] }.
    Not through ExportSystemDefinition: without storage it leaves the chain locked (hyperv.md 0.8, bareos).
    Source: hyperv.md 0.8, 1.1 (ConfigurationDataRoot, ConfigurationFile, GuestStateDataRoot, GuestStateFile), 3 step 7.
    INFERRED: ConfigurationFile is relative to ConfigurationDataRoot; the other files have its base name.
#>
#requires -Version 5.1
[CmdletBinding()]
param(
    [Parameter(Mandatory = $true)] [ValidatePattern('^[A-Za-z0-9+/]+=*$')] [string] $Payload,
    [Parameter(Mandatory = $true)] [ValidatePattern('^[0-9a-f]+$')] [string] $Call
)
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Protocol.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.Wmi.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.State.psm1'))
Import-Module -Name ([System.IO.Path]::Combine($PSScriptRoot, 'modules', 'Gcb.HyperV.psm1'))

Invoke-GcbVerb -Payload $Payload -Call $Call -Body {
    param([pscustomobject] $Request)
    $namespace = $Request.settings.namespace
    $system = Get-GcbVirtualSystem -Namespace $namespace -VmId $Request.vmId
    $checkpoint = $null
    if ($null -ne $system) {
        $checkpoint = Get-GcbCheckpointSetting -VirtualSystem $system | Where-Object -FilterScript { $_.InstanceID -eq $Request.checkpointId } | Select-Object -First 1
    }
    if ($null -eq $checkpoint) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $Request.checkpointId -Message "Checkpoint $($Request.checkpointId) of VM $($Request.vmId) does not exist." -Remedy 'Start the backup again.'
    }
    $configuration = [System.IO.Path]::Combine([string]$checkpoint.ConfigurationDataRoot, [string]$checkpoint.ConfigurationFile)
    $sources = New-Object -TypeName System.Collections.ArrayList
    foreach ($extension in @('.vmcx', '.vmrs', '.vmgs')) {
        $path = [System.IO.Path]::ChangeExtension($configuration, $extension)
        if ([System.IO.File]::Exists($path)) { [void]$sources.Add($path) }
    }
    $guestState = [string](Get-GcbProperty -InputObject $checkpoint -Name 'GuestStateFile')
    if ($guestState -ne '') {
        $path = [System.IO.Path]::Combine([string](Get-GcbProperty -InputObject $checkpoint -Name 'GuestStateDataRoot'), $guestState)
        if ([System.IO.File]::Exists($path) -and -not $sources.Contains($path)) { [void]$sources.Add($path) }
    }
    if ($sources.Count -eq 0) {
        Stop-GcbVerb -Code 'HV_NOT_FOUND' -Subject $configuration -Message "Checkpoint $($Request.checkpointId) has no configuration file at $configuration." -Remedy 'Check the folder of the VM and the rights of the agent on it.'
    }
    [void][System.IO.Directory]::CreateDirectory($Request.targetDirectory)
    $files = New-Object -TypeName System.Collections.ArrayList
    foreach ($source in $sources.ToArray()) {
        $name = [System.IO.Path]::GetFileName($source)
        $target = [System.IO.Path]::Combine($Request.targetDirectory, $name)
        [System.IO.File]::Copy($source, $target, $true)
        [void]$files.Add([ordered]@{ name = $name; bytes = (New-Object -TypeName System.IO.FileInfo -ArgumentList $target).Length })
    }
    [ordered]@{ files = $files.ToArray() }
}
